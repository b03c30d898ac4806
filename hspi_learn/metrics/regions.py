"""Errors of mean activities of organs and tumours: relative bias, slope against truth, relative SD over
noise.

Activities may be in any unit; all results but :func:`regional_means` are dimensionless.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from hspi_learn.metrics.reduction import reduce_scans


def regional_means(activity: Tensor, labels: Tensor, regions: int, mask: Tensor | None = None) -> Tensor:
    """Mean of each map in each labelled region.

    Args:
        activity: [batch, map, z, y, x].
        labels: region of each voxel [batch, z, y, x], int64, 0..regions - 1.
        regions: number of regions.
        mask: voxels that count [batch, 1 or map, z, y, x], bool; None takes every voxel.

    Returns:
        [batch, map, region]; NaN where a region has no voxel.
    """
    batch, maps = activity.shape[:2]
    keep = torch.ones_like(activity, dtype=torch.bool) if mask is None else mask.expand_as(activity)
    index = labels.reshape(batch, 1, -1).expand(-1, maps, -1)
    weight = keep.reshape(batch, maps, -1).to(activity.dtype)
    kept = torch.where(keep, activity, 0.0).reshape(batch, maps, -1)
    total = activity.new_zeros(batch, maps, regions).scatter_add(2, index, kept)
    voxels = activity.new_zeros(batch, maps, regions).scatter_add(2, index, weight)
    return torch.where(voxels > 0, total / voxels.clamp_min(1), torch.nan)


def relative_bias(estimate: Tensor, truth: Tensor) -> Tensor:
    """(estimate - truth) / truth of regional means, any one shape.

    NaN where the truth is 0 or absent; infinite where it is there, and the estimate is no number.
    """
    bias = torch.where(torch.isfinite(estimate), (estimate - truth) / truth, torch.inf)
    return torch.where(truth > 0, bias, torch.nan)


class UptakeDependence(NamedTuple):
    """How the error of regional means depends on the true uptake.

    A method that shrinks everything to the mean has a small signed bias on average; it shows here, as a
    slope below 1 and as positive bias in the low and negative bias in the high third.
    """

    slope: float
    """Least squares slope of estimate against truth, with an intercept."""
    bias_low: float
    """Median relative bias in the third of regions with the lowest true uptake."""
    bias_middle: float
    """Median relative bias in the middle third."""
    bias_high: float
    """Median relative bias in the third with the highest true uptake."""


def uptake_dependence(estimate: Tensor, truth: Tensor) -> UptakeDependence:
    """Slope and bias per third of true uptake over regional means of any one shape.

    Regions that are absent (truth NaN) or without true activity are left out. All values are NaN with fewer
    than three left, or where an estimate of one of them is NaN or infinite.
    """
    known = torch.isfinite(truth) & (truth > 0)
    x, y = truth[known].double(), estimate[known].double()
    if len(x) < 3 or not bool(torch.isfinite(y).all()):
        return UptakeDependence(*[torch.nan] * 4)
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * y).sum()) / spread if spread > 0 else torch.nan
    thirds = ((y - x) / x)[torch.argsort(x, stable=True)].tensor_split(3)
    return UptakeDependence(slope, *(float(third.quantile(0.5)) for third in thirds))


class BiasAndSpread(NamedTuple):
    """Relative bias and standard deviation over noise realisations, of one shape."""

    bias: Tensor
    sd: Tensor


def bias_and_spread(estimates: Tensor, truth: Tensor) -> BiasAndSpread:
    """Bias of the mean and SD over realisations (dimension 0), both relative to the truth.

    Both are NaN where the truth is 0 or absent, and infinite where it is there and an estimate is no number.

    Args:
        estimates: [realisation, ...], at least two.
        truth: [...].
    """
    known = torch.where(truth > 0, truth, torch.nan)
    failed = (truth > 0) & ~torch.isfinite(estimates).all(dim=0)
    bias, sd = (estimates.mean(0) - truth) / known, estimates.std(0) / known
    return BiasAndSpread(bias.masked_fill(failed, torch.inf), sd.masked_fill(failed, torch.inf))


class RegionalBias(Metric):
    """Median over scans of the relative bias of each map in each region, [map, region]."""

    full_state_update = False
    bias: list[Tensor]

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.regions = regions
        self.add_state("bias", default=[], dist_reduce_fx="cat")

    def update(self, estimate: Tensor, truth: Tensor, labels: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch; shapes as in :func:`regional_means`."""
        found, true = (regional_means(maps, labels, self.regions, mask) for maps in (estimate, truth))
        self.bias.append(relative_bias(found, true))

    def compute(self) -> Tensor:
        """NaN where no scan had the region with activity."""
        joined = torch.cat(self.bias) if isinstance(self.bias, list) else self.bias
        return reduce_scans(joined, "median")
