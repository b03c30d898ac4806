"""Energy windows (keV) cut at the photon lines that a camera resolves; the rule is in docs/physics.md,
section 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.detector.response import peak_fwhm_kev
from data_gen.forward_model.system import ImagingSystem
from data_gen.materials import interaction_probability
from data_gen.nuclides import photon_lines

WEAKEST = 0.03
"""Lines with less than this fraction of the strongest line's full-energy counts get no window."""

_FWHM_NODES = 8
"""Energies at which the width of the peak is computed; it is interpolated between them."""

Windows = Sequence[float] | Literal["lines"]
"""Rising edges in keV, or "lines" for windows cut at the chain's lines."""

Array = NDArray[np.float64]


def energy_windows(windows_kev: Windows, system: ImagingSystem) -> EnergyWindows:
    """The windows of these edges, or those cut at the lines that a system sees.

    Args:
        windows_kev: rising edges in keV, or "lines".
        system: camera, decay chain and recorded energies; used for "lines" alone.

    Raises:
        UserError: the edges do not rise, it is another word than "lines", or the chain emits no photon line
            at the recorded energies.
    """
    if not isinstance(windows_kev, str):
        return EnergyWindows(windows_kev)
    if windows_kev != "lines":
        raise UserError(f"windows_kev is {windows_kev!r}; it needs rising edges in keV, or lines")
    energy, strength = _detected_lines(system)
    bins = system.energy_bins.edges_kev.numpy()
    nodes = np.geomspace(max(bins[0], 1.0), bins[-1], _FWHM_NODES)
    with torch.no_grad():
        width = [float(peak_fwhm_kev(system.camera.response, float(node))) for node in nodes]
    edges = line_windows(energy, strength, np.interp(energy, nodes, width), float(bins[0]), float(bins[-1]))
    # Events are known to lie in a recorded bin, not where in it.
    nearest = {float(bins[np.abs(bins - edge).argmin()]) for edge in edges}
    return EnergyWindows(sorted(nearest))


def line_windows(
    energy_kev: Sequence[float] | Array,
    strength: Sequence[float] | Array,
    fwhm_kev: Sequence[float] | Array,
    min_kev: float,
    max_kev: float,
) -> tuple[float, ...]:
    """Edges of windows that hold the lines which a detector can tell apart, and of those between them.

    Lines weaker than :data:`WEAKEST` of the strongest are left out. Neighbours within one FWHM are not
    resolved and share a window. It reaches one FWHM beyond its outermost lines, the width at which
    windows around photopeaks are commonly set; windows that overlap are cut halfway. What lies between two
    line windows is a window of its own where it is at least two FWHM wide, as a line's window is (it tells of
    scattered photons underneath, as the side windows of the triple-energy-window method do: Ogawa et al.,
    IEEE Trans. Med. Imaging 10:408, 1991); otherwise its halves go to both neighbours.

    Args:
        energy_kev: lines by rising energy, [line].
        strength: full-energy counts of each line, in any unit, [line].
        fwhm_kev: width of the full-energy peak at each line, [line].
        min_kev: lower end of the first window.
        max_kev: upper end of the last window.

    Returns:
        Rising edges in keV from ``min_kev`` to ``max_kev``.

    Raises:
        UserError: there is no line between the two ends.
    """
    lines = [
        (float(e), float(s), float(w))
        for e, s, w in zip(energy_kev, strength, fwhm_kev, strict=True)
        if min_kev < e < max_kev and s > 0
    ]
    if not lines:
        raise UserError(f"there is no photon line at {min_kev:g}-{max_kev:g} keV; windows need edges in keV")
    strongest = max(s for _, s, _ in lines)
    kept = [(e, w) for e, s, w in lines if s >= WEAKEST * strongest]
    groups = [[kept[0]]]
    for line in kept[1:]:
        if line[0] - groups[-1][-1][0] <= line[1]:
            groups[-1].append(line)
        else:
            groups.append([line])
    edges = [min_kev]
    for number, group in enumerate(groups):
        (first, below), (last, above) = group[0], group[-1]
        low, high = max(min_kev, first - below), min(max_kev, last + above)
        if low - edges[-1] >= 2 * below:
            edges.append(low)
        elif number > 0:
            edges[-1] = (edges[-1] + low) / 2
        edges.append(high)
    if max_kev - edges[-1] >= 2 * above:
        edges.append(max_kev)
    else:
        edges[-1] = max_kev
    return tuple(edges)


def _detected_lines(system: ImagingSystem) -> tuple[list[float], list[float]]:
    """Energies in keV by rising energy and full-energy counts of the chain's lines, in any unit.

    Counts are photons per decay of the head of a map, its group in equilibrium, times the chance to interact
    in the detector. Object and collimator are left out.
    """
    bins = system.energy_bins
    weights = system.groups.weights.sum(1).tolist()
    lines = sorted(
        (line.energy_kev, weight * line.photons_per_decay)
        for member, weight in zip(system.chain.members, weights, strict=True)
        for line in photon_lines(member, bins.min_kev, bins.max_kev)
    )
    if not lines:
        raise UserError(
            f"{system.chain.members[0]} and its progeny emit no photon line at "
            f"{bins.min_kev:g}-{bins.max_kev:g} keV; windows_kev needs edges in keV"
        )
    energy, yields = zip(*lines, strict=True)
    camera = system.camera
    chance = interaction_probability(
        camera.detector_material, torch.tensor(energy, dtype=torch.float64), camera.detector_thickness_mm
    )
    return list(energy), [y * float(p) for y, p in zip(yields, chance, strict=True)]
