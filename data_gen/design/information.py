"""Fisher information of Poisson counts, and the Cramer-Rao bound that follows from it.

Source: Barrett and Myers, Foundations of Image Science (2004), chapter 13.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fisher_information(parts: Tensor, background: Tensor, scales: Tensor | None = None) -> Tensor:
    """Fisher information of the scales of additive parts of Poisson counts.

    With expected counts n = sum_k s_k a_k + d, I[k, l] = sum over measurements of a_k a_l / n.

    Args:
        parts: expected counts of each part at scale 1, [k, measurement], 0 or more.
        background: expected counts that are known, [measurement].
        scales: of each part, [k], 0 or more; None: all are 1.

    Returns:
        [k, k], float64.
    """
    a = parts.to(torch.float64)
    present = a.sum(0) if scales is None else scales.to(torch.float64) @ a
    expected = present + background.to(torch.float64)
    # A measurement without expected counts carries no information.
    weight = torch.where(expected > 0, 1 / expected.clamp_min(1e-300), 0.0)
    return (a * weight) @ a.T


def cross_information(repeats: Sequence[Tensor], background: Tensor) -> Tensor:
    """Fisher information from two or more independent estimates of the parts [k, measurement], unbiased by
    their noise.

    Noise makes the product of an estimate with itself too large, which would count as information; here only
    products of different estimates are used.
    """
    a = torch.stack(tuple(repeats)).to(torch.float64)
    expected = a.mean(0).sum(0) + background
    weight = torch.where(expected > 0, 1 / expected.clamp_min(1e-300), 0.0)
    total = a.sum(0)
    own = torch.einsum("rkn,n,rln->kl", a, weight, a)
    return ((total * weight) @ total.T - own) / (len(a) * (len(a) - 1))


def relative_deviations(information: Tensor) -> Tensor:
    """Smallest relative standard deviation of any unbiased estimate of each scale (Cramer-Rao), [k], all
    others unknown.

    All are infinite where some combination of scales has no positive information, for instance since two
    parts are alike.
    """
    # A unit diagonal makes the inverse independent of how strong the parts are.
    size = information.diagonal().clamp_min(1e-300).sqrt()
    factor, failed = torch.linalg.cholesky_ex(information / (size[:, None] * size))
    if int(failed):
        return torch.full_like(size, torch.inf)
    return torch.cholesky_inverse(factor).diagonal().sqrt() / size
