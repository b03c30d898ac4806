"""Energy windows (keV) of the strongest full-energy peaks, and the number of events in them."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.events import EventList
from data_gen.detector import DetectorResponse
from data_gen.materials import interaction_probability
from data_gen.nuclides import DecayChain, MemberGroups
from data_gen.nuclides.spectrum import LineSpectrum

STRONGEST_LINES = 5
"""Lines whose peaks count as photopeaks; chosen, no source."""

Windows = tuple[tuple[float, float], ...]


def photopeak_windows(camera: Camera, chain: DecayChain, groups: MemberGroups) -> Windows:
    """The energies, keV, within one FWHM of the five lines with the most full-energy counts.

    Lines are ranked by photons per decay in equilibrium times the detector's chance to record them at
    full energy; the object and the collimator, which favour high energies, are left out. For Ra-223 and
    CdTe these are K X-rays and gammas between 80 and 155 keV. Windows that overlap are joined.
    """
    lines = LineSpectrum.of(chain, 20.0, 600.0, continuum=False)
    per_decay = lines.photons_per_decay * groups.weights[lines.member].sum(1)
    detected = per_decay * interaction_probability(
        camera.detector_material, lines.energy_kev, camera.detector_thickness_mm
    )
    # Full-energy counts of weak lines need not be computed to know that they are weak.
    likely = torch.argsort(detected, descending=True)[: 6 * STRONGEST_LINES]
    found = []
    for line in likely.tolist():
        energy = float(lines.energy_kev[line])
        width, recorded = _peak(camera.response, energy)
        found.append((float(detected[line]) * recorded, energy - width, energy + width))
    best = sorted(found, reverse=True)[:STRONGEST_LINES]
    return _joined(sorted((low, high) for _, low, high in best))


def count_photopeak(events: EventList, windows: Windows) -> int:
    """Events in any of the windows."""
    inside = torch.zeros(len(events), dtype=torch.bool)
    for low, high in windows:
        inside |= (events.energy_kev >= low) & (events.energy_kev < high)
    return int(inside.sum())


def _peak(response: DetectorResponse, energy_kev: float) -> tuple[float, float]:
    """FWHM in keV of the full-energy peak, and the probability of a record within one FWHM of it."""
    step = energy_kev / 2000
    edges = energy_kev + step * (torch.arange(801, dtype=torch.float64) - 400.5)
    spectrum = response.kernel(torch.tensor([energy_kev], dtype=torch.float64), edges)[:, 0].sum(0).detach()
    top = int(spectrum.argmax())
    half = float(spectrum[top]) / 2
    # The upper side has no tail of incomplete charge or scattered photons.
    upper = _crossing(spectrum[top:], half)
    width = 2 * upper * step
    reach = torch.arange(len(spectrum)) - top
    return width, float(spectrum[reach.abs() * step <= width].sum())


def _crossing(falling: Tensor, level: float) -> float:
    """Index, with a fraction, at which values first fall under a level."""
    under = (falling < level).nonzero()
    if len(under) == 0:
        return float(len(falling))
    k = int(under[0])
    before, after = float(falling[k - 1]), float(falling[k])
    return k - 1 + (before - level) / (before - after)


def _joined(windows: list[tuple[float, float]]) -> Windows:
    """Rising windows with those that overlap made one."""
    joined: list[tuple[float, float]] = []
    for low, high in windows:
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)
