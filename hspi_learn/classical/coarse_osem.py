"""OSEM on voxels twice as large, brought back to the grid by trilinear interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.ordered_subsets import MeasuredScan, Update, em_update
from hspi_learn.classical.osem import Osem
from hspi_learn.classical.rows import Rows
from hspi_learn.reconstructor import ScanContext

FACTOR = 2
"""Edge of a coarse voxel in voxels of the grid."""


class CoarseOsem(Osem):
    """OSEM whose image is uniform over blocks of 2 x 2 x 2 voxels, for super-resolution.

    With U the map that gives each of the eight voxels an eighth of a coarse one's activity, A U is the model
    of the coarse grid, and its EM update is that of the fine grid with back-projection and sensitivity added
    up over each block (within the body). The same matrices serve: nothing more is built or cached. The last
    image is interpolated trilinearly between the centres of the coarse voxels, with the activity of each map
    as it was.

    Args:
        model: see :class:`Osem`.
        iterations: see :class:`Osem`.
        subsets: see :class:`Osem`.
        postfilter_fwhm_mm: see :class:`Osem`.
        tied_iterations: see :class:`Osem`.

    Raises:
        UserError: a setting outside its range, or a grid of an odd number of voxels along an axis.
    """

    name = "coarse_osem"
    version = 1

    def __init__(
        self,
        model: HyperspectralForwardModel,
        iterations: int = 3,
        subsets: int = 6,
        postfilter_fwhm_mm: float = 0.0,
        tied_iterations: int = 0,
    ) -> None:
        if any(number % FACTOR for number in model.grid.shape):
            raise UserError(
                f"coarse_osem needs an even number of voxels along each axis; the grid has {model.grid.shape}"
            )
        super().__init__(model, iterations, subsets, postfilter_fwhm_mm, tied_iterations)

    def _update(self, scan: MeasuredScan, done: int) -> Update:  # noqa: ARG002  # the same each time
        return partial(_coarse_update, scan=scan, together=None)

    def _tied_update(self, scan: MeasuredScan, together: Tensor) -> Update:
        return partial(_coarse_update, scan=scan, together=together)

    def _images(
        self, rows: Sequence[Rows], total: Tensor, context: ScanContext, iterations: int
    ) -> Iterator[Tensor]:
        """The interpolated activity after each iteration."""
        for image in super()._images(rows, total, context, iterations):
            yield interpolated(image, context.body)


def _coarse_update(
    image: Tensor, back_projected: Tensor, sensitivity: Tensor, scan: MeasuredScan, together: Tensor | None
) -> Tensor:
    """The EM update of an image that is uniform over the seen voxels of each block."""
    seen = scan.voxels.seen
    back, seen_by_all = (block_mean(torch.where(seen, part, 0.0)) for part in (back_projected, sensitivity))
    return torch.where(seen, em_update(image, back, seen_by_all, scan.voxels, together), 0.0)


def block_mean(image: Tensor) -> Tensor:
    """Each voxel's mean over its block of 2 x 2 x 2, [batch, map, z, y, x]."""
    coarse = functional.avg_pool3d(image, FACTOR)
    for axis in (2, 3, 4):
        coarse = coarse.repeat_interleave(FACTOR, dim=axis)
    return coarse


def interpolated(image: Tensor, body: Tensor) -> Tensor:
    """Blocks of an image [batch, map, z, y, x] interpolated trilinearly in the body; sums of maps stay."""
    coarse = functional.avg_pool3d(image, FACTOR)
    fine = body * functional.interpolate(coarse, scale_factor=FACTOR, mode="trilinear", align_corners=False)
    before, after = (of.sum((2, 3, 4), keepdim=True) for of in (image, fine))
    return fine * before / after.clamp_min(torch.finfo(fine.dtype).tiny)
