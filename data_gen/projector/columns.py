"""The voxels that are columns of a system matrix: coarse ones where a pixel sees no detail."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import coarse_grid, linear_shares

VOXELS_A_WIDTH = 4.0
"""Coarse voxels for each width (FWHM) of what a pixel sees, at least ..."""

VOXELS_A_HOLE = 1.5
"""... and for the diameter of the waist's image within it, which stands out where metal lets most through."""

LEAST_RATIO = 1.5
"""Of the edges of coarse voxels and of the grid's: less saves too little to be worth the blur."""


class Columns(nn.Module):
    """Voxels of a matrix, among which those of the grid share their activity linearly along each axis.

    Activity is never lost or negative. Points widen by 6 % at most; a single voxel is told better than by its
    own few rays.

    Args:
        fine: the grid that activity is on.
        grid: the voxels of the matrix.
    """

    def __init__(self, fine: VoxelGrid, grid: VoxelGrid) -> None:
        super().__init__()
        self.fine, self.grid = fine, grid
        for axis, share in zip("zyx", linear_shares(fine, grid), strict=True):
            self.register_buffer(f"share_{axis}", share, persistent=False)

    @classmethod
    def of(cls, fine: VoxelGrid, width_mm: float, hole_mm: float) -> Columns:
        """The columns for pixels that see this FWHM at the isocentre, through a waist of this image there."""
        edge_mm = min(width_mm / VOXELS_A_WIDTH, hole_mm / VOXELS_A_HOLE)
        coarse = coarse_grid(fine, edge_mm) if edge_mm > 0 else fine
        saves = all(n >= LEAST_RATIO * m for n, m in zip(fine.shape, coarse.shape, strict=True))
        return cls(fine, coarse if saves else fine)

    def take(self, images: Tensor) -> Tensor:
        """What columns get of activity in voxels, [voxel, k] to [column, k]."""
        return self._shared(images, self.fine, flip=False)

    def give_back(self, images: Tensor) -> Tensor:
        """Transpose of :meth:`take`."""
        return self._shared(images, self.grid, flip=True)

    def _shared(self, images: Tensor, source: VoxelGrid, flip: bool) -> Tensor:
        if self.grid == self.fine:
            return images
        shares = (cast(Tensor, getattr(self, f"share_{axis}")).to(images.dtype) for axis in "zyx")
        z, y, x = (share.T if flip else share for share in shares)
        images = z @ images.reshape(source.shape[0], -1)
        images = y @ images.reshape(len(z), source.shape[1], -1)
        images = x @ images.reshape(len(z) * len(y), source.shape[2], -1)
        return images.flatten(0, 1)
