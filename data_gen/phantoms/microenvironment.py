"""Heterogeneous uptake inside a tumour, down to clusters of cells; lengths in mm, uptake relative to its
mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms.microenvironment_fields import gaussian_field, vessel_distance
from data_gen.phantoms.microenvironment_lattice import fine_lattice

FINEST_MM = 0.05
"""Below this, cells and alpha ranges count one by one, and relative uptake per voxel means little."""


@dataclass(frozen=True)
class Microenvironment:
    """What makes uptake uneven; each factor can be switched off by its neutral value.

    Clusters of cells differ by a log-normal factor, and only a share of them takes up anything. The
    carrier leaves the vessels and is caught on its way (binding-site barrier): uptake falls exponentially
    with the distance from the nearest vessel. The core is dead, the rim is better fed. The values are
    assumptions of a usual size, not measurements.

    Args:
        cluster_mm: where the correlation of uptake between two points has fallen to 1/e.
        spread: standard deviation of the logarithm of uptake between clusters; 0 for none.
        positive_share: share of the clusters that takes up anything; 1 for all.
        vessel_spacing_mm: vessels run 1 / spacing^2 mm long in each mm3, straight and in all directions.
        penetration_mm: distance from a vessel over which uptake falls to 1/e; inf for even perfusion.
        core_radius: radius of the necrotic core over that of the tumour; 0 for none.
        core_uptake: uptake there relative to living tissue.
        rim_mm: thickness of the rim; 0 for none.
        rim_uptake: uptake there relative to the inside.

    Raises:
        UserError: a constant is out of its range.
    """

    cluster_mm: float = 0.2
    spread: float = 0.6
    positive_share: float = 0.85
    vessel_spacing_mm: float = 0.3
    penetration_mm: float = 0.15
    core_radius: float = 0.5
    core_uptake: float = 0.05
    rim_mm: float = 0.25
    rim_uptake: float = 1.5

    def __post_init__(self) -> None:
        for name in ("cluster_mm", "vessel_spacing_mm", "penetration_mm"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"microenvironment.{name} is {getattr(self, name)}; it needs a length above 0 mm"
                )
        for name in ("spread", "core_uptake", "rim_mm", "rim_uptake"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"microenvironment.{name} is {getattr(self, name)}; it needs 0 or more")
        if not 0 < self.positive_share <= 1:
            raise UserError(
                f"microenvironment.positive_share is {self.positive_share}; it needs above 0, at most 1"
            )
        if not 0 <= self.core_radius < 1:
            raise UserError(
                f"microenvironment.core_radius is {self.core_radius}; it needs 0 or more, below 1"
            )


def tumour_uptake(
    grid: VoxelGrid,
    centre_mm: Sequence[float],
    radius_mm: float,
    constants: Microenvironment,
    generator: torch.Generator,
    fine_mm: float = FINEST_MM,
) -> Tensor:
    """Relative uptake of a round tumour, [z, y, x] float64: its mean over the tumour is 1, it is 0 outside.

    The tumour is made of fine voxels, at most ``fine_mm`` wide, and averaged onto the grid; a voxel that is
    half outside holds half.

    Args:
        grid: voxels of the result.
        centre_mm: (x, y, z).
        radius_mm: of the whole tumour.
        constants: of its inside.
        generator: of clusters and vessels.
        fine_mm: edge of the fine voxels, :data:`FINEST_MM` or more.

    Raises:
        UserError: the tumour leaves the grid, or fine voxels are too small, too large or too many.
    """
    if not FINEST_MM <= fine_mm <= constants.cluster_mm / 2:
        raise UserError(
            f"fine_mm is {fine_mm}; it needs {FINEST_MM} mm or more, and at most half of cluster_mm, "
            f"{constants.cluster_mm}"
        )
    if not fine_mm < radius_mm < math.inf:
        raise UserError(f"tumour radius is {radius_mm} mm; it needs to be larger than fine_mm, {fine_mm}")
    lattice = fine_lattice(grid, centre_mm, radius_mm, fine_mm)
    return lattice.averaged(_fine_uptake(lattice.places_mm, radius_mm, constants, generator))


def _fine_uptake(
    places: Sequence[Tensor], radius_mm: float, constants: Microenvironment, generator: torch.Generator
) -> Tensor:
    """Relative uptake at fine places along (z, y, x), in mm from the tumour's centre."""
    z, y, x = torch.meshgrid(*places, indexing="ij")
    distance = torch.sqrt(x.square() + y.square() + z.square())
    inside = distance <= radius_mm
    uptake = _clusters(places, constants, generator)
    if math.isfinite(constants.penetration_mm):
        points = torch.stack((x[inside], y[inside], z[inside]), dim=-1)
        reach = radius_mm + 2 * constants.vessel_spacing_mm
        away = vessel_distance(points, reach, constants.vessel_spacing_mm, generator)
        uptake[inside] *= torch.exp(-away / constants.penetration_mm)
    uptake[distance < constants.core_radius * radius_mm] *= constants.core_uptake
    uptake[distance > radius_mm - constants.rim_mm] *= constants.rim_uptake
    uptake[~inside] = 0.0
    mean = uptake[inside].mean()
    if not float(mean) > 0:
        raise UserError("the tumour takes up nothing; positive_share, core_radius or its radius need to grow")
    return uptake / mean


def _clusters(places: Sequence[Tensor], constants: Microenvironment, generator: torch.Generator) -> Tensor:
    """Log-normal uptake of clusters, 0 in those that take up nothing."""
    shape = [len(place) for place in places]
    steps = [float(place[1] - place[0]) for place in places]
    field = gaussian_field(shape, steps, constants.cluster_mm, generator)
    lowest = torch.special.ndtri(torch.tensor(1 - constants.positive_share, dtype=torch.float64))
    return torch.where(field >= lowest, torch.exp(constants.spread * field), 0.0)
