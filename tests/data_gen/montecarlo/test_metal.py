"""Paths through the collimator against walks in small steps."""

import math

import pytest
import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.montecarlo.collimator_path import collimator_path, disjoint
from data_gen.montecarlo.panel import Panel, rotation_positions


def _panel(camera: Camera) -> Panel:
    return rotation_positions(camera, torch.device("cpu"))[0][0]


def _in_material(panel: Panel, point: Tensor) -> Tensor:
    """Whether points [k, 3] are inside material, from the written definition of plate and septa."""
    up = point[:, 2] - panel.plane_mm
    share = up.abs() / panel.half_plate_mm
    holes = panel.holes
    from_axis = point[:, None, :2] - holes.centre - holes.slope * up[:, None, None]
    beyond = (from_axis.abs() - holes.corner * share[:, None, None]).relu().norm(dim=-1)
    is_open = (beyond <= holes.radius + holes.growth * share[:, None]).any(dim=1)
    behind = (up > panel.half_plate_mm) & (point[:, 2] < panel.detector_mm)
    walls = torch.zeros_like(behind)
    for k, places in enumerate(panel.walls):
        walls |= ((point[:, k, None] - places).abs() < panel.half_wall_mm).any(dim=1)
    return ((share < 1) & ~is_open) | (behind & walls)


def _rays(panel: Panel, count: int) -> tuple[Tensor, Tensor]:
    """Rays from the object to the plate near and between apertures, and from places inside the collimator."""
    generator = torch.Generator().manual_seed(5)
    random = torch.randn(4, count, 3, generator=generator, dtype=torch.float64)
    pick = torch.randint(len(panel.holes.radius), (count,), generator=generator)
    target = panel.holes.centre[pick] + 1.5 * random[0, :, :2]
    position = torch.cat((target, torch.full((count, 1), panel.plane_mm, dtype=torch.float64)), dim=1)
    inside = position + 3 * random[1]
    start = torch.where(torch.arange(count)[:, None] % 2 == 0, 4 * random[2], inside)
    direction = torch.where(torch.arange(count)[:, None] % 2 == 0, position - start, random[3])
    direction[:, 2] = direction[:, 2].sign() * direction[:, 2].abs().clamp_min(0.1 * direction.norm(dim=1))
    return start, direction / direction.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("name", ["pinhole", "lofts"])
def test_length_of_material(name: str, request: pytest.FixtureRequest) -> None:
    """Truth: the share of 20,001 points along each ray that lie in material, to 5 steps of 5.5 um."""
    panel = _panel(request.getfixturevalue(name))
    position, direction = _rays(panel, 16)
    found = collimator_path(panel, position, direction).length_mm
    along = torch.linspace(0, 110, 20_001, dtype=torch.float64)
    for k in range(len(position)):
        inside = _in_material(panel, position[k] + along[:, None] * direction[k])
        assert float(found[k]) == pytest.approx(float(inside.double().mean()) * 110, abs=0.028)


def test_depth_and_distance_agree(lofts: Camera) -> None:
    """Truth: every point at a depth between 0 and the whole length lies in material."""
    panel = _panel(lofts)
    position, direction = _rays(panel, 2000)
    path = collimator_path(panel, position, direction)
    kept = (path.length_mm > 1e-3).nonzero()[:, 0]
    share = torch.rand(len(kept), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    run = path.take(kept).distance_at((1e-3 + 0.998 * share) * path.length_mm[kept])
    inside = _in_material(panel, position[kept] + run[:, None] * direction[kept])
    assert float(inside.double().mean()) > 0.999  # a point within rounding of a surface may miss


def test_slab_and_hole_on_axis(pinhole: Camera) -> None:
    """Truth: straight through the hole 0; slantwise past it the plate's thickness over the cosine."""
    panel = _panel(pinhole)
    position = torch.zeros(3, 3, dtype=torch.float64)
    position[1] = torch.tensor([8.0, 0.0, 0.0])
    position[2] = torch.tensor([0.0, 5.0, 0.0])
    direction = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.6, 0.8]], dtype=torch.float64)
    expected = torch.tensor([0.0, 4.0, 4.0 / 0.8], dtype=torch.float64)
    assert torch.allclose(collimator_path(panel, position, direction).length_mm, expected, atol=1e-9)


def test_knife_edge_chord(pinhole: Camera) -> None:
    """Truth: a ray parallel to the axis, r from it, misses the cones over 2 (r - R) / tan(a/2) of plate."""
    panel = _panel(pinhole)
    off, tangent = 1.2, math.tan(math.radians(35.0))
    length = collimator_path(
        panel,
        torch.tensor([[off, 0.0, 0.0]], dtype=torch.float64),
        torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64),
    ).length_mm
    assert float(length) == pytest.approx(2 * (off - 0.5) / tangent, abs=1e-8)


def test_overlapping_pieces_count_once() -> None:
    """Truth: the union of [0, 2], [1, 3], [5, 6] and [5, 5] is 4 long."""
    start = torch.tensor([[5.0, 0.0, 1.0, 5.0]])
    end = torch.tensor([[6.0, 2.0, 3.0, 5.0]])
    low, high = disjoint(start, end)
    assert float((high - low).sum()) == 4.0
    assert bool((low[:, 1:] >= high[:, :-1]).all())
