"""Real spherical harmonics of directions, and Legendre polynomials, by their recurrence relations."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def harmonics(direction: Tensor, order: int) -> Tensor:
    """Real spherical harmonics up to an order, normalised so that P_l(a . b) = sum over m of Y_lm(a) Y_lm(b).

    Args:
        direction: unit vectors (x, y, z), [..., 3].
        order: largest l.

    Returns:
        [..., (order + 1)^2]; those of degree l start at l^2.
    """
    x, y, z = direction.unbind(dim=-1)
    columns: list[Tensor | None] = [None] * (order + 1) ** 2
    cosine, sine = torch.ones_like(z), torch.zeros_like(z)  # times sin^m of the polar angle
    scale = 1.0
    for m in range(order + 1):
        for degree, value in zip(range(m, order + 1), _upwards(z, m, order), strict=True):
            middle = degree * (degree + 1)
            columns[middle + m] = scale * value * cosine
            if m:
                columns[middle - m] = scale * value * sine
        scale *= math.sqrt((2 * m + 1) / (2 * m + 2)) if m else 1.0
        cosine, sine = cosine * x - sine * y, sine * x + cosine * y
    return torch.stack([c for c in columns if c is not None], dim=-1)


def _upwards(z: Tensor, m: int, order: int) -> list[Tensor]:
    """Schmidt's functions of degrees m to ``order`` over that of degree m, as polynomials of z."""
    before, value = torch.zeros_like(z), torch.ones_like(z)
    values = [value]
    for degree in range(m + 1, order + 1):
        behind = math.sqrt((degree - 1) ** 2 - m * m)
        next_value = ((2 * degree - 1) * z * value - behind * before) / math.sqrt(degree * degree - m * m)
        before, value = value, next_value
        values.append(value)
    return values


def legendre(cosine: Tensor, order: int) -> Tensor:
    """Legendre polynomials P_0 to P_order, [..., order + 1]."""
    return torch.stack(_upwards(cosine, 0, order), dim=-1)
