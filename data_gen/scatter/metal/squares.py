"""Squares of a detector, seen from points near it."""

from __future__ import annotations

import torch
from torch import Tensor

SQUARES = 4
"""Parts of a square along each edge among which places are drawn by the solid angle that they are seen by."""


def within_square(way: Tensor, pitch: float, draw: Tensor) -> Tensor:
    """A place on a square of edge ``pitch``, from its middle, about evenly in solid angle, [..., 3] mm.

    Args:
        way: (u, v, h) of the square's middle from where it is seen, [..., 3] mm.
        pitch: mm.
        draw: even, 0..1, [..., 3].
    """
    edge = pitch / SQUARES
    middle = (torch.arange(SQUARES) - (SQUARES - 1) / 2) * edge
    u, v, h = way.unbind(dim=-1)
    across = (u[..., None, None] + middle).square() + (v[..., None, None] + middle[:, None]).square()
    soft = (edge / 2) ** 2  # a square that is touched is seen by no more than half of all directions
    seen = (across + h[..., None, None].square() + soft).pow(-1.5).flatten(-2).cumsum(dim=-1)
    chosen = torch.searchsorted(seen, draw[..., :1] * seen[..., -1:])[..., 0].clamp_max(SQUARES**2 - 1)
    place = middle[torch.stack((chosen % SQUARES, chosen // SQUARES), dim=-1)]
    place = place + (draw[..., 1:] - 0.5) * edge
    return torch.cat((place, torch.zeros_like(place[..., :1])), dim=-1)


def solid_angle(way: Tensor, pitch: float) -> Tensor:
    """Solid angle of a square of edge ``pitch`` at (u, v, h) from a point, [...] sr."""
    total = torch.zeros_like(way[..., 0])
    for sign_u in (1, -1):
        for sign_v in (1, -1):
            u = way[..., 0] + sign_u * pitch / 2
            v = way[..., 1] + sign_v * pitch / 2
            h = way[..., 2].clamp_min(1e-4)
            corner = torch.atan(u * v / (h * (u * u + v * v + h * h).sqrt()))
            total = total + sign_u * sign_v * corner
    return total
