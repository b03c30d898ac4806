"""Evenly spread points in many dimensions, the nodes of all integrals over events in the crystal."""

from __future__ import annotations

import torch
from torch import Tensor


def spread_points(count: int, dimensions: int) -> Tensor:
    """A fixed set of points in the unit cube, [count, dimensions]; no random numbers.

    The first coordinate is even; the others are a Kronecker sequence whose steps are powers of the
    generalised golden ratio [Roberts 2018, R_d], so that any run of points covers the cube evenly.
    """
    index = torch.arange(count, dtype=torch.float64)
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / dimensions)  # fixed point of ratio^dimensions = 1 + ratio
    steps = torch.tensor([ratio**-k for k in range(1, dimensions)], dtype=torch.float64)
    return torch.cat(((index[:, None] + 0.5) / count, (0.5 + (index[:, None] + 1) * steps) % 1.0), dim=1)
