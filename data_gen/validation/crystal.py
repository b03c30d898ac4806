"""Detector responses: conservation of photons, peak positions and widths, recorded positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from data_gen.detector import CdTeResponse, DetectorResponse, GaussianResponse, peak_fwhm_kev
from data_gen.detector.deposits import FWHM_PER_SIGMA
from data_gen.detector.hits import Mode
from data_gen.materials import (
    interaction_probability,
    linear_attenuation_per_mm,
    mass_attenuation,
    process_mass_attenuation,
)
from data_gen.validation.point import Findings, Plot, Point

_CDTE = CdTeResponse(thickness_mm=2.0, pixel_pitch_mm=0.25)
_PUBLISHED = "Alpha-SPECT-Mini, published abstract"

_FRACTIONS = {
    1.0: {
        80: (82.9, 78.2),
        154: (28.3, 21.2),
        218: (14.8, 8.5),
        270: (10.6, 4.8),
        351: (7.5, 2.3),
        440: (5.9, 1.3),
    },
    2.0: {
        80: (97.1, 92.8),
        154: (48.6, 36.8),
        218: (27.5, 15.8),
        270: (20.0, 9.1),
        351: (14.4, 4.5),
        440: (11.5, 2.5),
    },
    5.0: {
        80: (100, 96.1),
        154: (81.1, 63.0),
        218: (55.2, 32.3),
        270: (42.8, 19.6),
        351: (32.2, 10.2),
        440: (26.3, 5.8),
    },
}
"""By thickness in mm and energy in keV: % of photons that interact (coherent scatter included), and % whose
first energy-depositing interaction is absorption; rounded to 0.1.
"""

_NIST_CDTE = {60: 6.542, 100: 1.671, 200: 0.3246, 400: 0.1147}
"""Total mass attenuation in cm2/g."""


def response(
    energies_kev: Sequence[float] = (27.5, 40.0, 60.0, 80.0, 122.0, 154.0, 218.0, 270.0, 351.0, 440.0, 600.0),
) -> Findings:
    """Sums over bins and losses, FWHM, escape peaks, interaction fractions, recorded positions.

    Args:
        energies_kev: lines whose probabilities are summed.
    """
    points = [*sums(energies_kev), *_linked(energies_kev), *_widths(), *_escapes(), *_fractions()]
    points += [_position(fwhm, pitch) for fwhm, pitch in ((0.85, 1.0), (3.5, 2.5))]
    return Findings(points, [_spectra()])


def sums(energies_kev: Sequence[float]) -> list[Point]:
    """Bins and losses of each way of reading out, and of a scintillator."""
    energy = torch.tensor(energies_kev, dtype=torch.float64)
    modes: tuple[Mode, ...] = ("addition", "discrimination", "raw")
    points = [_sum(f"cdte_{mode}", replace(_CDTE, mode=mode), energy) for mode in modes]
    return [*points, _sum("gaussian", GaussianResponse("NaI", 9.5), energy)]


def _sum(name: str, kind: DetectorResponse, energy: Tensor) -> Point:
    """Largest deviation from 1 of all bins at all offsets plus all losses."""
    edges = torch.linspace(20.0, 600.0, 581, dtype=torch.float64)
    lost = sum(kind.losses(energy, edges).values())
    total = kind.kernel(energy, edges).sum((0, 2)) + lost
    return Point(
        f"sum_{name}",
        float((total - 1).abs().max()),
        1e-6,
        "bins and losses sum to 1",
        "conservation of photons",
        f"{len(energy)} lines, {float(energy[0]):g} to {float(energy[-1]):g} keV; bins 20 to 600 keV",
    )


def _linked(energies_kev: Sequence[float]) -> list[Point]:
    """Linked hits are counted apart; how many is reported."""
    energy = torch.tensor(energies_kev, dtype=torch.float64)
    edges = torch.tensor([0.0, 3000.0], dtype=torch.float64)
    hits = replace(_CDTE, mode="raw").linked(energy, edges).sum((0, 2))
    return [
        Point(f"linked_hits_{e:g}kev", float(n), None, "further hits per interaction", "reported", "raw mode")
        for e, n in zip(energies_kev, hits, strict=True)
    ]


def _widths() -> list[Point]:
    alone = replace(_CDTE, gain_spread_fraction=0.0, offset_spread_kev=0.0)
    measured = [float(peak_fwhm_kev(_CDTE, energy)) for energy in (122.0, 218.0)]
    single = float(peak_fwhm_kev(alone, 122.0))
    found = [
        Point(
            f"fwhm_{energy}kev",
            abs(width / truth - 1),
            0.02,
            f"{truth} keV over all pixels",
            _PUBLISHED,
            f"{width:.3f} keV by the response's own peak",
        )
        for energy, truth, width in ((122, 2.5, measured[0]), (218, 3.5, measured[1]))
    ]
    note = "no spread of gain and offset"
    return [*found, Point("fwhm_single_pixel_122kev", single, 1.0, "below 1 keV", _PUBLISHED, note, "keV")]


def _escapes() -> list[Point]:
    """Distances of the two strongest escape peaks from the full-energy peak, in single pixels.

    All peaks stand a little below their energies, since charge is trapped; a calibration takes that out.
    """
    alone = replace(_CDTE, gain_spread_fraction=0.0, offset_spread_kev=0.0, mode="discrimination")
    bin_kev, energy = 0.25, 82.0
    edges = torch.arange(energy - 40, energy + 4, bin_kev, dtype=torch.float64)
    counts = alone.kernel(torch.tensor([energy], dtype=torch.float64), edges)[:, 0].sum(0)
    middle = (edges[1:] + edges[:-1]) / 2
    full = float(middle[counts.argmax()])
    found = []
    for name, lost in (("cd_ka1", 23.17), ("te_ka1", 27.47)):
        near = (middle - (full - lost)).abs() < 1.5
        place = float(middle[near][counts[near].argmax()])
        found.append(
            Point(
                f"escape_{name}",
                abs(full - place - lost),
                bin_kev,
                f"{lost} keV below the full-energy peak",
                "xraylib line energies",
                f"{energy:g} keV, bins of {bin_kev} keV, single pixels",
                "keV",
            )
        )
    return found


def _fractions() -> list[Point]:
    """Beyond what the rounding of the table leaves open."""
    found = []
    for thickness, rows in _FRACTIONS.items():
        energy = torch.tensor(list(rows), dtype=torch.float64)
        crossed = -torch.expm1(-linear_attenuation_per_mm("CdTe", energy) * thickness)
        photo, compton = (process_mass_attenuation("CdTe", energy, p) for p in ("photoelectric", "compton"))
        absorbed = interaction_probability("CdTe", energy, thickness) * photo / (photo + compton)
        for k, (name, seen) in enumerate((("interacting", 100 * crossed), ("absorbed", 100 * absorbed))):
            truth = np.array([row[k] for row in rows.values()])
            beyond = np.maximum(np.abs(seen.numpy() - truth) - 0.05, 0.0) / truth
            note = f"{thickness:g} mm of CdTe, 80 to 440 keV, after rounding of 0.1 %"
            truth_told = "% of photons at first interaction"
            found.append(
                Point(
                    f"{name}_{thickness:g}mm",
                    float(beyond.max()),
                    0.01,
                    truth_told,
                    "tables of xraylib 4.3",
                    note,
                )
            )
    nist = np.array(list(_NIST_CDTE.values()))
    ours = mass_attenuation("CdTe", torch.tensor(list(_NIST_CDTE), dtype=torch.float64)).numpy()
    worst = float(np.abs(ours / nist - 1).max())
    return [*found, Point("cdte_attenuation", worst, 0.01, "total, 60 to 400 keV", "NIST tables", "cm2/g")]


def _position(fwhm_mm: float, pitch_mm: float) -> Point:
    """Sigma of the recorded pixel's place about points that are counted by pixel, then blurred.

    The truth is that of points which are blurred, then sorted into pixels.
    """
    response = GaussianResponse("NaI", 9.5, pixel_pitch_mm=pitch_mm, position_fwhm_mm=fwhm_mm)
    everything = torch.tensor([-1e9, 1e9], dtype=torch.float64)
    shares = response.kernel(torch.tensor([140.5], dtype=torch.float64), everything)[:, 0, 0]
    row = torch.tensor([float(row) for row, _ in response.offsets], dtype=torch.float64)
    point = (torch.arange(100, dtype=torch.float64) + 0.5) / 100 - 0.5
    variance = float((shares[:, None] * (row[:, None] - point) ** 2).sum() / len(point) / shares.sum())
    sigma = pitch_mm * math.sqrt(variance)
    exact = math.hypot(fwhm_mm / FWHM_PER_SIGMA, pitch_mm / math.sqrt(12))
    return Point(
        f"position_{fwhm_mm:g}mm_on_{pitch_mm:g}mm",
        abs(sigma / exact - 1),
        0.02,
        f"{exact:.3f} mm",
        "Gaussian, then one pixel: sd^2 + pitch^2 / 12",
        f"{sigma:.3f} mm found",
    )


def _spectra() -> Plot:
    edges = torch.arange(10.0, 450.0, 0.5, dtype=torch.float64)
    lines = (82.0, 218.0, 440.0)
    counts = _CDTE.kernel(torch.tensor(lines, dtype=torch.float64), edges).sum(0) / 0.5
    middle = np.asarray(((edges[1:] + edges[:-1]) / 2).numpy())
    curves = {
        f"{e:g} keV": (middle, np.asarray(c.numpy()) + 1e-9) for e, c in zip(lines, counts, strict=True)
    }
    caption = "What 2 mm of CdTe records of one interacting photon, 3x3 addition."
    return Plot("spectra", caption, "recorded energy [keV]", "probability per keV", curves, ("linear", "log"))
