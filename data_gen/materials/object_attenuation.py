"""Density and attenuation of the imaged object, tissue by tissue.

From the density in g/cm3 and the tissue index of each voxel: the density of each tissue as a map of its own,
and each tissue's mass attenuation in 1/mm per g/cm3. Their product, summed over tissues, is the object's
linear attenuation. Source of the coefficients: ``attenuation.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.materials import TISSUES, tissue_from_density, tissue_mass_attenuation


def density_by_tissue(density: Tensor, material: Tensor | None, grid: VoxelGrid) -> Tensor:
    """Density of each tissue in g/cm3, [batch, tissue, z, y, x]; zero in the voxels of other tissues.

    Args:
        density: density of the object in g/cm3, [batch, z, y, x].
        material: tissue index of each voxel, [batch, z, y, x]; None derives it from the density.
        grid: voxels.

    Raises:
        UserError: the shape is not the grid's, or a density is NaN, infinite or negative.
    """
    if density.ndim != 4 or tuple(density.shape[1:]) != grid.shape:
        raise UserError(f"density has shape {list(density.shape)}; this grid needs [batch, {_shape(grid)}]")
    if not bool(torch.isfinite(density).all()) or bool((density < 0).any()):
        raise UserError("density holds NaN, infinite or negative values; it needs g/cm3 of 0 or more")
    tissue = tissue_from_density(density.detach()) if material is None else material
    mask = functional.one_hot(tissue, len(TISSUES)).movedim(-1, 1)
    return density[:, None] * mask.to(density.dtype)


def tissue_attenuation(energies_kev: Tensor) -> Tensor:
    """Mass attenuation of each tissue at energies [g] in keV, [tissue, g] in 1/mm per g/cm3."""
    return 0.1 * tissue_mass_attenuation(energies_kev)


def checked_activity(activity: Tensor, grid: VoxelGrid) -> Tensor:
    """The activity [batch, map, z, y, x] itself, once its shape has been checked.

    Raises:
        UserError: the shape is not the grid's.
    """
    if activity.ndim != 5 or tuple(activity.shape[2:]) != grid.shape:
        raise UserError(
            f"activity has shape {list(activity.shape)}; this grid needs [batch, map, {_shape(grid)}]"
        )
    return activity


def _shape(grid: VoxelGrid) -> str:
    return ", ".join(str(n) for n in grid.shape)
