"""The voxels that are columns of a system matrix: coarser than the grid where penetration blurs the image.

Activity is resampled to them by linear interpolation; edges are in mm. docs/physics.md, section 5.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import coarse_grid, linear_shares

VOXELS_A_WIDTH = 4.0
"""Coarse voxels per width (FWHM) of a pixel's response at the isocentre, at least ..."""

VOXELS_A_HOLE = 1.5
"""... and per diameter of the waist's image within it, which is the sharpest part of the response."""

LEAST_RATIO = 1.5
"""Smallest ratio of the edges of coarse voxels and of the grid's that is worth the resampling."""


class Columns(nn.Module):
    """Voxels of a system matrix, to which the activity of the grid's voxels is interpolated linearly along
    each axis.

    Activity is never lost or negative. Points widen by 6 % at most; for a single voxel the coarse column is
    more accurate than its own few rays.

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
        """The columns for pixels with this FWHM at the isocentre, through a waist with an image of this
        diameter there.
        """
        edge_mm = min(width_mm / VOXELS_A_WIDTH, hole_mm / VOXELS_A_HOLE)
        coarse = coarse_grid(fine, edge_mm) if edge_mm > 0 else fine
        saves = all(n >= LEAST_RATIO * m for n, m in zip(fine.shape, coarse.shape, strict=True))
        return cls(fine, coarse if saves else fine)

    def forward(self, images: Tensor) -> Tensor:
        """Activity of the columns from that of the grid's voxels, [voxel, k] to [column, k]."""
        return self._interpolated(images, self.fine, flip=False)

    def adjoint(self, images: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [column, k] to [voxel, k]."""
        return self._interpolated(images, self.grid, flip=True)

    def _interpolated(self, images: Tensor, source: VoxelGrid, flip: bool) -> Tensor:
        if self.grid == self.fine:
            return images
        shares = (cast(Tensor, getattr(self, f"share_{axis}")).to(images.dtype) for axis in "zyx")
        z, y, x = (share.T if flip else share for share in shares)
        images = z @ images.reshape(source.shape[0], -1)
        images = y @ images.reshape(len(z), source.shape[1], -1)
        images = x @ images.reshape(len(z) * len(y), source.shape[2], -1)
        return images.flatten(0, 1)
