"""Evenly spread points in many dimensions, the nodes of all integrals over events in the crystal."""

from __future__ import annotations

import torch
from torch import Tensor


def spread_points(count: int, dimensions: int) -> Tensor:
    """A fixed set of points in the open unit cube, [count, dimensions]; nothing random.

    The first coordinate is even and rises; the others are Sobol's sequence, so that any run of points covers
    the cube evenly. A ``count`` that is a power of two is best.
    """
    even = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    sobol = torch.quasirandom.SobolEngine(dimensions - 1).draw(count, dtype=torch.float64)
    return torch.cat((even, (sobol + 0.5 / count) % 1.0), dim=1)
