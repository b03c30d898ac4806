"""Fisher information of Poisson counts, and the Cramer-Rao bound that follows from it."""

from __future__ import annotations

import torch
from torch import Tensor


def fisher_information(parts: Tensor, background: Tensor) -> Tensor:
    """Fisher information of the scales of additive parts of Poisson counts, all scales being 1.

    With expected counts n = sum_k s_k a_k + d, I[k, l] = sum over measurements of a_k a_l / n.

    Args:
        parts: expected counts of each part, [k, measurement], 0 or more.
        background: expected counts that are known, [measurement].

    Returns:
        [k, k], float64.
    """
    a = parts.to(torch.float64)
    expected = a.sum(0) + background.to(torch.float64)
    # A measurement that expects nothing of any part tells nothing.
    weight = torch.where(expected > 0, 1 / expected.clamp_min(1e-300), 0.0)
    return (a * weight) @ a.T


def relative_deviations(information: Tensor) -> Tensor:
    """Least relative standard deviation of any unbiased estimate of each scale, [k], the others unknown too.

    A matrix that is singular, since two parts look alike, gives infinities.
    """
    # With a unit diagonal the inverse does not care how strong the parts are.
    size = information.diagonal().clamp_min(1e-300).sqrt()
    whole, failed = torch.linalg.inv_ex(information / (size[:, None] * size))
    variance = whole.diagonal() / size.square()
    hopeless = (failed != 0) | ~(variance > 0) | ~torch.isfinite(variance)
    return torch.where(hopeless, torch.inf, variance.clamp_min(0)).sqrt()
