"""Ordered-subsets expectation maximisation (OSEM), jointly over all activity maps and all energy windows.

From counts, or events, to activity in Bq per voxel. Source: Hudson and Larkin, IEEE Trans. Med. Imaging 13
(1994) 601.
"""

from __future__ import annotations

from functools import partial

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.ordered_subsets import MeasuredScan, OrderedSubsets, Update, em_update


class Osem(OrderedSubsets):
    """Poisson maximum likelihood by EM over balanced subsets of pixels.

        x <- x / (A_k^T 1)  A_k^T ( n_k / (A_k x + B_k + b_k) )        for each subset k of pixels

    See :class:`~hspi_learn.classical.ordered_subsets.OrderedSubsets` for A and B, the start, and what becomes
    of silent pixels and hardly seen voxels.

    Args:
        model: the forward model, with the energy windows (or fine bins, for events) to reconstruct from.
        iterations: passes over all subsets.
        subsets: number of subsets; 1 is MLEM.
        postfilter_fwhm_mm: Gaussian smoothing of the last image, within the body; 0 for none.
        tied_iterations: first iterations in which maps of short-lived daughters are held at equilibrium.

    Raises:
        UserError: a setting outside its range.
    """

    name = "osem"
    version = 2

    def __init__(
        self,
        model: HyperspectralForwardModel,
        iterations: int = 8,
        subsets: int = 8,
        postfilter_fwhm_mm: float = 0.0,
        tied_iterations: int = 0,
    ) -> None:
        super().__init__(model, iterations, subsets, postfilter_fwhm_mm, tied_iterations)

    def _update(self, scan: MeasuredScan, done: int) -> Update:  # noqa: ARG002  # the same each time
        return partial(em_update, voxels=scan.voxels)
