"""Relative error of estimated activity maps: NRMSE (``hspi_learn/metrics/nrmse.py``) with voxel weights."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.autograd import in_full_precision
from hspi_learn.losses.loss import Loss
from hspi_learn.reconstructor import ScanBatch


class WeightView(Protocol):
    """What a task has to offer for losses over voxels."""

    weight: Tensor
    """Weight of each voxel in the error [batch, 1 or map, z, y, x]."""


class RelativeError(Loss):
    """:func:`relative_error` of an activity [batch, map, z, y, x] against the truth; see :class:`Loss`."""

    def forward(self, prediction: Tensor, batch: ScanBatch, view: WeightView) -> Tensor:
        """See :meth:`Loss.forward`."""
        return relative_error(prediction, batch.activity, view.weight)


@in_full_precision
def relative_error(estimate: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """||estimate - truth|| / ||truth|| over weighted voxels, mean over batch and maps: NRMSE with a gradient.

    Not squared, so that one hopeless scan does not rule a batch. A map without activity is measured against
    the scan's other maps.

    Args:
        estimate: [batch, map, z, y, x], any unit.
        truth: true activity of the same shape and unit.
        weight: weight of each voxel, [batch, 1 or map, z, y, x]; a mask is a weight too.
    """
    space = (2, 3, 4)
    weight = weight.to(truth.dtype)
    size = (truth.square() * weight).sum(space)
    error = ((estimate - truth).square() * weight).sum(space)
    size = torch.where(size > 0, size, size.mean(dim=1, keepdim=True)).clamp_min(
        torch.finfo(truth.dtype).tiny
    )
    return (error / size + 1e-12).sqrt().mean()
