"""Nodes of rays through a plate against areas and integrals in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.projector.rings import Rings

SHARE = ((torch.arange(400, dtype=torch.float64) + 0.5) / 400)[None]


def between(first: float, last: float) -> tuple[Tensor, Tensor]:
    """Ends of a ring, one pair with all rays alike."""
    return torch.full((1, 1), first, dtype=torch.float64), torch.full((1, 400), last, dtype=torch.float64)


@pytest.mark.parametrize(("optical_per_mm", "most"), [(0.01, 0.0), (2.0, 4.0), (40.0, 60.0)])
def test_rings_add_up_to_what_comes_through(optical_per_mm: float, most: float) -> None:
    """Areas times exp(-thickness) sum to the integral over a ring whose thickness grows evenly up to a most:
    closed form, 1 %."""
    first, last = 0.7, 6.0
    radius, area = Rings(first, optical_per_mm, most).nodes(*between(first, last), SHARE)
    found = float((area * torch.exp(-(optical_per_mm * (radius - first)).clamp_max(most))).sum())
    ramp = min(most / optical_per_mm, last - first)
    a = optical_per_mm
    slope = (first / a + 1 / a**2) - math.exp(-a * ramp) * ((first + ramp) / a + 1 / a**2)
    flat = math.exp(-min(most, a * ramp)) * (last**2 - (first + ramp) ** 2) / 2
    assert found == pytest.approx(2 * math.pi * (slope + flat), rel=0.01)


def test_nodes_move_with_their_ends() -> None:
    """The gradient of the ring's area is 2 pi times its radii (closed form, 1 %)."""
    first, last = (end.requires_grad_() for end in between(1.0, 5.0))
    _, area = Rings(1.0, 0.01, 0.0).nodes(first, last, SHARE)
    inward, outward = torch.autograd.grad(area.sum(), (first, last))
    assert float(outward.sum()) == pytest.approx(2 * math.pi * 5.0, rel=0.01)
    assert float(inward.sum()) == pytest.approx(-2 * math.pi * 1.0, rel=0.01)
