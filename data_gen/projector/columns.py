"""The voxels that are columns of a system matrix: coarser than the grid where penetration blurs the image.

The activity of each voxel of the grid is divided between the nearest two columns along each axis, in
proportion to how near they are, so that the total is kept; edges are in mm. docs/physics.md, section 5.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import coarse_grid, linear_shares

VOXELS_A_WIDTH = 4.0
"""Columns per width (FWHM) of a pixel's response at the isocentre, at least; chosen, with the widening that
:class:`Columns` states."""

VOXELS_A_HOLE = 1.5
"""Columns per diameter of the waist, projected from the pixel onto the isocentre, at least: the sharpest part
of the response; chosen."""

LEAST_RATIO = 1.5
"""Smallest ratio of the edges of columns and of the grid's voxels that is worth the sharing; chosen."""


class Columns(nn.Module):
    """Columns of a system matrix, between which the activity of the grid's voxels is divided.

    No activity is lost or becomes negative. Along each axis a voxel half way between two columns is widened
    by the variance h^2 / 4, with h the edge of a column, and an evenly filled column has h^2 / 12 itself. A
    Gaussian response of which h is a quarter of the FWHM (:data:`VOXELS_A_WIDTH`) is then 4 % wider by the
    former and 6 % by both, and less for every other place. docs/physics.md, section 5, has what this changes
    in images, against what few rays through small voxels change.

    Args:
        fine: the grid that activity is on.
        grid: the voxels of the matrix; the grid itself if nothing is to be divided.
    """

    def __init__(self, fine: VoxelGrid, grid: VoxelGrid) -> None:
        super().__init__()
        self.fine, self.grid = fine, grid
        for axis, share in zip("zyx", linear_shares(fine, grid), strict=True):
            self.register_buffer(f"share_{axis}", share, persistent=False)

    @classmethod
    def of(cls, fine: VoxelGrid, width_mm: float, hole_mm: float) -> Columns:
        """The columns for the response of a pixel.

        Args:
            fine: the grid that activity is on.
            width_mm: FWHM of the response at the isocentre; 0 where none is known, which keeps the grid's
                voxels.
            hole_mm: diameter of the waist, projected from the pixel onto the isocentre.
        """
        edge_mm = min(width_mm / VOXELS_A_WIDTH, hole_mm / VOXELS_A_HOLE)
        coarse = coarse_grid(fine, edge_mm) if edge_mm > 0 else fine
        saves = all(n >= LEAST_RATIO * m for n, m in zip(fine.shape, coarse.shape, strict=True))
        return cls(fine, coarse if saves else fine)

    def forward(self, images: Tensor) -> Tensor:
        """Activity of the columns from that of the grid's voxels.

        Args:
            images: [voxel, k] in Bq, voxels in the order z, y, x with x fastest; k counts mirror images,
                scans and maps, which are treated alike.

        Returns:
            [column, k] in Bq, columns in the same order.
        """
        return self._shared(images, self.fine, flip=False)

    def adjoint(self, images: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [column, k] to [voxel, k]."""
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
