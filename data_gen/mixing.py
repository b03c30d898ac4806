"""What each photon line borrows from the few energies at which the geometry is computed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.materials import interaction_attenuation_per_mm, interaction_probability, k_edges_kev

OPEN_PATHS_MM = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Paths in collimator metal of rays through and beside an aperture."""

LARGEST_SHARE = 100.0
"""More means that the reference gets through nothing, nor does the line get through enough to count."""

OPEN_WEIGHT = 10.0
"""How much the open waist counts against each path through its edge."""


class _Between(NamedTuple):
    """The references next to each line on its side of the K edges; if there is but one, it is both."""

    low: Tensor
    high: Tensor

    @property
    def alone(self) -> Tensor:
        return self.low == self.high

    def shares(self, first: Tensor, second: Tensor, references: int) -> Tensor:
        """[line, g] of shares in ``low`` and ``high``, [line] each."""
        table = torch.zeros(len(first), references, dtype=torch.float64)
        line = torch.arange(len(first))
        table[line, self.low] = first
        return table.index_put((line, self.high), torch.where(self.alone, 0.0, second), accumulate=True)


def sharp_shares(camera: Camera, energy_kev: Tensor, reference_kev: Tensor) -> Tensor:
    """Shares [line, g] with which first interactions behind apertures at the reference energies make those of
    a line; most rays there cross no metal, so errors count by what gets through."""
    paths = torch.tensor(OPEN_PATHS_MM, dtype=torch.float64)
    mu = interaction_attenuation_per_mm(camera.collimator_material, energy_kev)
    weight = torch.exp(-2 * mu[:, None] * paths)  # squares of what gets through
    weight[:, 0] = OPEN_WEIGHT
    return _fitted(camera, energy_kev, reference_kev, paths, weight)


def leak_shares(camera: Camera, energy_kev: Tensor, reference_kev: Tensor) -> Tensor:
    """The same behind the plate or a septum, where errors count relative to the little that gets through."""
    plate = camera.spec.collimator
    thinnest = min(plate.septa_mm, plate.plate_mm) if plate.septa else plate.plate_mm
    paths = torch.linspace(thinnest, 1.2 * plate.plate_mm, 6, dtype=torch.float64)
    return _fitted(camera, energy_kev, reference_kev, paths, torch.ones(len(energy_kev), len(paths)))


def photon_shares(camera: Camera, energy_kev: Tensor, reference_kev: Tensor) -> Tensor:
    """Shares [line, g] with which photons of the reference energies stand for those of a line, summing to 1:
    linear in log energy."""
    near = _between(camera, energy_kev, reference_kev)
    low, high = reference_kev[near.low], reference_kev[near.high]
    above = torch.where(near.alone, 0.0, (energy_kev / low).log() / (high / low).log())
    return near.shares(1 - above, above, len(reference_kev))


def _fitted(
    camera: Camera, energy_kev: Tensor, reference_kev: Tensor, paths_mm: Tensor, weight: Tensor
) -> Tensor:
    """Shares, 0 or more, that fit transmission times detection of a line at all paths best."""

    def seen(energy: Tensor) -> Tensor:
        mu = interaction_attenuation_per_mm(camera.collimator_material, energy)
        stopped = interaction_probability(camera.detector_material, energy, camera.detector_thickness_mm)
        # What is nothing anyway stays above 0, since ratios are fitted.
        return (stopped[:, None] * torch.exp(-mu[:, None] * paths_mm)).clamp_min(1e-60)

    near = _between(camera, energy_kev, reference_kev)
    line, references = seen(energy_kev), seen(reference_kev)
    a, b = references[near.low] / line, references[near.high] / line
    aa, bb, ab = (weight * a * a).sum(1), (weight * b * b).sum(1), (weight * a * b).sum(1)
    to_a, to_b = (weight * a).sum(1), (weight * b).sum(1)
    determinant = (aa * bb - ab * ab).clamp_min(1e-12 * aa * bb)
    first, second = (to_a * bb - to_b * ab) / determinant, (to_b * aa - to_a * ab) / determinant
    first_alone = near.alone | (second < 0)
    second_alone = ~near.alone & (first < 0)
    first = torch.where(first_alone, to_a / aa, first.clamp_min(0)).clamp_max(LARGEST_SHARE)
    second = torch.where(second_alone, to_b / bb, second.clamp_min(0)).clamp_max(LARGEST_SHARE)
    return near.shares(
        torch.where(second_alone, 0.0, first), torch.where(first_alone, 0.0, second), len(reference_kev)
    )


def _between(camera: Camera, energy_kev: Tensor, reference_kev: Tensor) -> _Between:
    """The references around each line; one beyond a K edge of the collimator counts only if all are."""
    edges = torch.tensor(k_edges_kev(camera.collimator_material), dtype=torch.float64)
    side = torch.bucketize(energy_kev, edges, right=True)[:, None]
    usable = torch.bucketize(reference_kev, edges, right=True) == side
    usable = usable | ~usable.any(dim=1, keepdim=True)
    gap = energy_kev[:, None].log() - reference_kev.log()
    below = torch.where(usable & (gap >= 0), gap, torch.inf)
    above = torch.where(usable & (gap < 0), -gap, torch.inf)
    low, high = below.argmin(dim=1), above.argmin(dim=1)
    low = torch.where(below.amin(dim=1).isinf(), high, low)
    return _Between(low, torch.where(above.amin(dim=1).isinf(), low, high))
