"""Errors of denoised projections against their noise-free expectation, window by window."""

from __future__ import annotations

import torch
from torch import Tensor


def projection_nrmse(estimate: Tensor, expected: Tensor) -> Tensor:
    """||x - e|| / ||e|| over the pixels of each energy window.

    Args:
        estimate: x, counts [batch, pixel, window].
        expected: e, the noise-free expectation, of the same shape.

    Returns:
        [batch, window]; infinite where the estimate is NaN or infinite, since it failed; NaN where nothing is
        expected, since no error is relative to nothing.
    """
    norm = expected.norm(dim=1)
    error = (estimate - expected).norm(dim=1)
    relative = error / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return torch.where(norm > 0, torch.where(torch.isfinite(error), relative, torch.inf), torch.nan)


def count_weighted(values: Tensor, expected: Tensor) -> Tensor:
    """Mean over windows, each weighted by its expected counts.

    Args:
        values: of each window [batch, window]; NaN where nothing is expected.
        expected: counts [batch, pixel, window].

    Returns:
        [batch]; NaN where nothing is expected in any window.
    """
    counts = expected.sum(dim=1)
    total = counts.sum(dim=1)
    summed = torch.where(counts > 0, values * counts, 0.0).sum(dim=1)
    return torch.where(total > 0, summed / total.clamp_min(torch.finfo(total.dtype).tiny), torch.nan)
