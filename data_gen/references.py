"""The few energies at which the geometry of a camera is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.materials import (
    interaction_attenuation_per_mm,
    interaction_probability,
    k_edges_kev,
    linear_attenuation_per_mm,
)
from data_gen.spectrum import LineSpectrum

TISSUE_MM = 10.0
"""Tissue that photons typically cross."""

FAR = 100.0
"""Farther than any two lines look alike."""


def reference_energies(camera: Camera, lines: LineSpectrum, most: int) -> Tensor:
    """At most ``most`` energies of lines, rising, [g] keV, from which the other lines borrow.

    Chosen one by one, so that the lines that are detected most look like the two chosen ones around them:
    by the size of an aperture with its penetrated edge, and by what tissue lets through. Each side of a
    K edge of the collimator that has lines gets a reference in any case.
    """
    energy, which = torch.unique(lines.energy_kev, return_inverse=True)
    emitted = torch.zeros_like(energy).index_add(0, which, lines.photons_per_decay)
    radius = float(camera.aperture_diameter_mm.detach().median()) / 2
    edge = float(camera.aperture_opening.detach().max()) / interaction_attenuation_per_mm(
        camera.collimator_material, energy
    )
    tissue = TISSUE_MM * linear_attenuation_per_mm("soft_tissue", energy)
    stopped = interaction_probability(camera.detector_material, energy, camera.detector_thickness_mm)
    look = 2 * (radius + edge).log() - tissue
    side = torch.bucketize(
        energy, torch.tensor(k_edges_kev(camera.collimator_material), dtype=torch.float64), right=True
    )
    chosen: Tensor = energy[_chosen(look + FAR * side, emitted * stopped * look.exp(), side, most)]
    return chosen


def _chosen(look: Tensor, weight: Tensor, side: Tensor, most: int) -> Tensor:
    """Which lines are references, [line] bool."""
    chosen = torch.zeros(len(look), dtype=torch.bool)
    for part in side.unique():
        chosen[torch.where(side == part, weight, -1.0).argmax()] = True
    while int(chosen.sum()) < min(most, len(look)):
        costs = torch.stack([_distance(look, chosen, extra) @ weight for extra in range(len(look))])
        chosen[int(torch.where(chosen, torch.inf, costs).argmin())] = True
    return chosen


def _distance(look: Tensor, chosen: Tensor, extra: int) -> Tensor:
    """Error of what each line borrows if one more is chosen, up to a factor, [line]."""
    with_extra = chosen.clone()
    with_extra[extra] = True
    gap = look[:, None] - look[with_extra]
    below = torch.where(gap >= 0, gap, FAR).amin(dim=1)
    above = torch.where(gap <= 0, -gap, FAR).amin(dim=1)
    # Between two: as interpolation errs; beyond: as far as to the nearest.
    between = (below < FAR / 2) & (above < FAR / 2)
    return torch.where(between, below * above, torch.minimum(below, above))
