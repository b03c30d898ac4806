"""Squares of detector that are seen from near, and photons that leave or enter a crystal by its sides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.projector.sampling import spread_points
from data_gen.scatter.collimator.detection import SQUARES, Crystal, solid_angle, within_square


def test_solid_angle_of_a_face_of_a_cube():
    """From the middle of a cube each face fills a sixth of all directions."""
    found = solid_angle(torch.tensor([0.0, 0.0, 1.5], dtype=torch.float64), 3.0)
    assert float(found) == pytest.approx(4 * math.pi / 6, rel=1e-6)


@pytest.mark.parametrize("way", [(0.4, 0.2, 0.8), (3.0, -2.0, 1.0), (0.0, 0.0, 20.0)])
def test_places_are_drawn_by_solid_angle(way):
    """Photons at the parts of a square, against the solid angle of each (closed form): 2 % of all."""
    pitch, middle = 2.0, torch.tensor(way, dtype=torch.float64)
    draws = 20_000
    place = within_square(middle.expand(draws, 3), pitch, spread_points(draws, 3))
    edge = pitch / SQUARES
    part = ((place[:, :2] + pitch / 2) / edge).floor().long().clamp(0, SQUARES - 1)
    found = torch.bincount(part[:, 1] * SQUARES + part[:, 0], minlength=SQUARES**2) / draws
    centre = (torch.arange(SQUARES) - (SQUARES - 1) / 2) * edge
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    parts = middle + torch.stack((u, v, torch.zeros_like(u)), dim=-1).reshape(-1, 3)
    truth = solid_angle(parts, edge)
    assert float((found - truth / truth.sum()).abs().max()) < 0.02
    assert float(truth.sum()) == pytest.approx(float(solid_angle(middle, pitch)), rel=1e-6)


def _interactions(crystal: Crystal, source: Tensor, mu: float) -> float:
    """First interactions per photon of an isotropic source at (u, v, h) before the face, by draws."""
    draw = spread_points(200_000, 3)
    depth, stands_for = crystal.drawn(draw[:, 2])
    place = torch.cat(((draw[:, :2] - 0.5) * 2 * crystal.half_size, depth[:, None]), dim=1)
    way = place - source
    distance = way.norm(dim=1)
    inside = crystal.inside(place, way / distance[:, None], depth, stands_for)
    area = 4 * float(crystal.half_size.prod())
    solid = area * way[:, 2] / distance**3 / (4 * math.pi)
    table = torch.full((2,), mu, dtype=torch.float64)
    one = Crystal(crystal.half_size, crystal.thickness, table, crystal.shallow)
    return float(one.stopped(solid, torch.full_like(depth, 100.0), inside).mean())


@pytest.mark.parametrize("mu", [0.06, 3.0])
@pytest.mark.parametrize("source", [(0.0, 0.0, -6.0), (4.0, 1.0, -3.0), (14.0, 0.0, -4.0)])
def test_interactions_in_a_small_crystal(mu, source):
    """Against 1,000,000 drawn directions that are cut with the box of the crystal: 2 %.

    The third source stands beside the crystal, whose side it sees.
    """
    half, thick = torch.tensor([5.0, 5.0], dtype=torch.float64), 2.0
    crystal = Crystal(half, thick, torch.zeros(2, dtype=torch.float64), 3.0)
    start = torch.tensor(source, dtype=torch.float64)
    draw = spread_points(1_000_000, 2)
    rise, turn = draw[:, 0], 2 * math.pi * draw[:, 1]  # the half of all directions that leads towards it
    flat = (1 - rise.square()).sqrt()
    heading = torch.stack((flat * turn.cos(), flat * turn.sin(), rise), dim=1)
    low = torch.cat((-half, torch.zeros(1, dtype=torch.float64)))
    high = torch.cat((half, torch.full((1,), thick, dtype=torch.float64)))
    ends = torch.stack(((low - start) / heading, (high - start) / heading))
    length = (ends.amax(dim=0).amin(dim=1) - ends.amin(dim=0).amax(dim=1).clamp_min(0)).clamp_min(0)
    truth = float(-torch.expm1(-mu * length).mean()) / 2
    assert _interactions(crystal, start, mu) == pytest.approx(truth, rel=0.02)
