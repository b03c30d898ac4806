"""Figures of many samples as one. A sample that a method failed on counts as infinitely wrong; one that has
no such figure (NaN) does not count.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["median", "mean", "worst"]


def failed_samples(prediction: Tensor) -> Tensor:
    """Samples [batch], bool, whose prediction [batch, ...] is NaN or infinite anywhere."""
    return ~torch.isfinite(prediction).reshape(len(prediction), -1).all(dim=1)


def reduce_scans(values: Tensor, reduction: Reduction) -> Tensor:
    """Median, mean or worst (largest) over scans, dimension 0.

    NaN says that a scan has no such figure, and is left out; a failure is infinite and counts. NaN where no
    scan has the figure.
    """
    if reduction == "median":
        # Not interpolated: halfway between two infinite values is no number.
        low, high = (values.nanquantile(0.5, dim=0, interpolation=side) for side in ("lower", "higher"))
        return (low + high) / 2
    if reduction == "mean":
        return values.nanmean(dim=0)
    known = values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    return torch.where(torch.isnan(values).all(dim=0), torch.nan, known.amax(dim=0))
