"""Normalised root mean square error (NRMSE) of activity maps, ||x - t|| / ||t||, and the voxels it is taken
over.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from hspi_learn.metrics.reduction import Reduction, reduce_scans


def evaluated_voxels(sensitivity: Tensor, body: Tensor, least_share: float = 0.1) -> Tensor:
    """Voxels inside the body where sensitivity is at least ``least_share`` of its maximum over the map.

    Args:
        sensitivity: counts/s per Bq [batch, map, z, y, x].
        body: [batch, 1, z, y, x], bool.
        least_share: share of each map's maximum; the default is chosen, no source.

    Returns:
        [batch, map, z, y, x], bool.
    """
    best = sensitivity.flatten(2).amax(dim=2)[..., None, None, None]
    return body & (sensitivity >= least_share * best)


def nrmse(estimate: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """||x - t|| / ||t|| over the voxels of ``mask``, per scan and map.

    Args:
        estimate: [batch, map, z, y, x], in any unit.
        truth: true activity of the same shape and unit.
        mask: [batch, 1 or map, z, y, x], bool; None takes every voxel.

    Returns:
        [batch, map]; infinite where the estimate is NaN or infinite in the mask, since it failed; NaN where
        the truth is nowhere in the mask, since no error is relative to nothing.
    """
    if mask is not None:
        estimate, truth = torch.where(mask, estimate, 0.0), torch.where(mask, truth, 0.0)
    norm = truth.flatten(2).norm(dim=2)
    error = (estimate - truth).flatten(2).norm(dim=2)
    relative = error / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return torch.where(norm > 0, torch.where(torch.isfinite(error), relative, torch.inf), torch.nan)


def scan_nrmse(estimate: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """NRMSE of each scan [batch]: the mean over its maps that hold activity."""
    return nrmse(estimate, truth, mask).nanmean(dim=1)


class Nrmse(Metric):
    """Median (or mean, or worst) over scans of :func:`scan_nrmse`.

    The median is the headline, since one failing mouse can move a mean by a factor of two.
    """

    higher_is_better = False
    full_state_update = False
    scans: list[Tensor]

    def __init__(self, reduction: Reduction = "median") -> None:
        super().__init__()
        self.reduction: Reduction = reduction
        self.add_state("scans", default=[], dist_reduce_fx="cat")

    def update(self, estimate: Tensor, truth: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch; shapes as in :func:`nrmse`."""
        self.scans.append(scan_nrmse(estimate.detach(), truth, mask))

    def compute(self) -> Tensor:
        """The reduced error, a scalar."""
        return reduce_scans(_joined(self.scans), self.reduction)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state as one tensor; torchmetrics hands it over joined after a distributed sync."""
    return torch.cat(state) if isinstance(state, list) else state
