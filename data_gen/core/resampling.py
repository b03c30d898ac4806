"""Resampling of fields from fine to coarse voxels, and its transpose.

Separable: one interpolation matrix [coarse, fine] per axis (z, y, x), dimensionless.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from data_gen.core.grid import VoxelGrid


def coarse_grid(grid: VoxelGrid, voxel_mm: float) -> VoxelGrid:
    """Voxels of at most ``voxel_mm`` over the same extent, no more of them than the grid itself has."""
    extent = grid.extent_mm
    counts = [min(n, math.ceil(edge / voxel_mm)) for n, edge in zip(grid.shape, extent, strict=True)]
    spacing = [edge / n for n, edge in zip(counts, extent, strict=True)]
    return VoxelGrid(counts, spacing)


def source_shares(fine: VoxelGrid, coarse: VoxelGrid) -> list[Tensor]:
    """Fraction of each fine voxel that is assigned to each coarse one, along (z, y, x), [coarse, fine] each.

    Quadratic interpolation, which preserves mean and variance of a source: the widening by coarse voxels is
    cancelled by small negative weights.
    """
    return [_parabolas(fine.axis_mm(a) / coarse.spacing_mm[a], coarse.shape[a]) for a in range(3)]


def linear_shares(fine: VoxelGrid, coarse: VoxelGrid) -> list[Tensor]:
    """Fraction of each fine voxel that is assigned to each coarse one, along (z, y, x), [coarse, fine] each.

    Between the two nearest coarse voxels in proportion to how near they are: never negative, and all of it is
    assigned, but a source half way between them is widened by a quarter of the square of their distance.
    """
    return [_lines(fine.axis_mm(a) / coarse.spacing_mm[a], coarse.shape[a]) for a in range(3)]


def density_shares(fine: VoxelGrid, coarse: VoxelGrid) -> list[Tensor]:
    """Fraction of each coarse voxel that each fine one fills, along (z, y, x), [coarse, fine] each."""
    return [_overlap(fine, coarse, a) / coarse.spacing_mm[a] for a in range(3)]


def resample(field: Tensor, shares: list[Tensor]) -> Tensor:
    """A field [..., z, y, x] on the coarse grid."""
    z, y, x = (share.to(field.device, field.dtype) for share in shares)
    return torch.einsum("...zyx,Zz,Yy,Xx->...ZYX", field, z, y, x)


def resample_back(field: Tensor, shares: list[Tensor]) -> Tensor:
    """Transpose of :func:`resample`."""
    return resample(field, [share.T for share in shares])


class Resampler(nn.Module):
    """Fields on a fine grid to coarse voxels and back, by shares along each axis.

    Args:
        shares: along (z, y, x), [coarse, fine] each.
    """

    def __init__(self, shares: list[Tensor]) -> None:
        super().__init__()
        self.z, self.y, self.x = (nn.Buffer(share, persistent=False) for share in shares)

    z: Tensor
    y: Tensor
    x: Tensor

    @property
    def shares(self) -> list[Tensor]:
        """Along (z, y, x), [coarse, fine] each."""
        return [self.z, self.y, self.x]

    def forward(self, field: Tensor) -> Tensor:
        """A field [..., z, y, x] on the coarse grid."""
        return resample(field, self.shares)

    def transpose(self, field: Tensor) -> Tensor:
        """Transpose of :meth:`forward`."""
        return resample_back(field, self.shares)


def _parabolas(place: Tensor, count: int) -> Tensor:
    """Shares [count, k] of sources at ``place`` (in voxels from the middle) between ``count`` voxels."""
    index = (place + (count - 1) / 2).clamp(0, count - 1)
    voxel = torch.arange(count)[:, None]
    if count < 3:
        return _lines(place, count)
    middle = index.round().clamp(1, count - 2)
    off, step = index - middle, voxel - middle
    square = off.square() - 1 / 12  # variance of an even spread over a voxel
    return torch.where(step == 0, 1 - square, torch.where(step.abs() == 1, (square + step * off) / 2, 0.0))


def _lines(place: Tensor, count: int) -> Tensor:
    """Shares [count, k] of sources at ``place`` (in voxels from the middle) between two voxels."""
    index = (place + (count - 1) / 2).clamp(0, count - 1)
    return (1 - (index - torch.arange(count)[:, None]).abs()).clamp_min(0).to(torch.float64)


def _overlap(fine: VoxelGrid, coarse: VoxelGrid, axis: int) -> Tensor:
    """Length mm that fine and coarse voxels share."""
    one, other = fine.axis_mm(axis), coarse.axis_mm(axis)[:, None]
    half, wide = fine.spacing_mm[axis] / 2, coarse.spacing_mm[axis] / 2
    return (torch.minimum(one + half, other + wide) - torch.maximum(one - half, other - wide)).clamp_min(0)
