"""Drift and sharing against single charges that walk at random and repel, and against closed forms."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from data_gen.detector import CdTeResponse
from data_gen.detector.charge import ChargeTransport, charge_transport


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def transport(**constants: Any) -> ChargeTransport:
    """Pixels of 0.25 mm on 2 mm at 1000 V, without trapping."""
    free = {"mu_tau_electron_cm2_v": 1e6, "mu_tau_hole_cm2_v": 1e6, "bias_v": 1000.0}
    return charge_transport(CdTeResponse(2.0, 0.25, **(free | constants)))


def cloud_mm(charge: ChargeTransport, depth_mm: float, energy_kev: float = 0.0) -> float:
    return float(charge.cloud_at_anode_mm(number(depth_mm), number(energy_kev), number(energy_kev)))


def shares(charge: ChargeTransport, place_mm: torch.Tensor, side: int = 3) -> torch.Tensor:
    nothing = torch.zeros(place_mm.shape[:-1], dtype=torch.float64)
    return charge.signals(place_mm, side, nothing, nothing)


def test_cloud_grows_by_diffusion():
    """sqrt(2 kT/q d^2/V) from the cathode: 14.2 um over 2 mm at 1000 V and 293 K, with 10 um in square."""
    exact = math.hypot(0.010, math.sqrt(2 * 0.025249 * 4 / 1000))
    assert cloud_mm(transport(), 0.0) == pytest.approx(exact, rel=1e-3)
    assert cloud_mm(transport(), 2.0) == pytest.approx(0.010, rel=1e-3)


@pytest.mark.parametrize(("energy", "width_um"), [(82.0, 9.5), (440.0, 16.7)])
def test_cloud_grows_by_repulsion(energy, width_um):
    """An even sphere of charges that repel, R^3 = 3 N q mu t / 4 pi eps and sigma = R / sqrt(5), over half of
    2 mm at 1500 V: 9.5 um at 82 keV and 16.7 um at 440 keV, within 1 %."""
    cold = transport(repulsion_fraction=1.0, cloud_um=0.0, temperature_k=1e-6, bias_v=1500.0)
    assert cloud_mm(cold, 1.0, energy) == pytest.approx(width_um / 1000, rel=0.01)
    assert cloud_mm(cold, 2.0, energy) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("field", [1.0, 0.3])
def test_charges_that_repel_and_diffuse(field):
    """4,000 charges, each pushed by those nearer to the middle and walking at random, in 300 steps of time in
    a field that rises evenly: widths within 4 %."""
    rng, count, steps = np.random.default_rng(8), 4000, 300
    start, d, bias, pairs = 0.6, 2.0, 1000.0, 150.0 / 0.00443
    place = 0.004 * rng.standard_normal((count, 3))
    depth = start
    way = np.linspace(start, d, steps + 1)
    for low, high in pairwise(way):
        depth = (low + high) / 2
        per_volt = (high - low) / (bias / d * (field + 2 * (1 - field) * depth / d))
        distance = np.linalg.norm(place, axis=1)
        inside = pairs * np.argsort(np.argsort(distance)) / count
        push = 1.43996e-6 / 10.9 * inside / (distance**3 + 1e-12) * per_volt
        place = place * (1 + push[:, None])
        place += math.sqrt(2 * 8.617333e-5 * 293 * per_volt) * rng.standard_normal((count, 3))
    charge = transport(repulsion_fraction=1.0, cloud_um=4.0, cathode_field_fraction=field)
    assert cloud_mm(charge, start, 150.0) == pytest.approx(float(place.std(axis=0).mean()), rel=0.04)


def test_charge_is_shared_as_it_diffuses():
    """20,000 charges that diffuse by themselves, counted in each pixel: 4 sigma."""
    rng, count = np.random.default_rng(4), 20_000
    start = np.array([0.118, -0.09, 0.6])
    steps = 40
    step = math.sqrt(2 * 8.617333e-5 * 293 * (2.0 - 0.6) * 2.0 / 1000 / steps)
    place = start[:2] + 0.010 * rng.standard_normal((count, 2))
    for _ in range(steps):
        place += step * rng.standard_normal((count, 2))
    row, column = (np.floor(place / 0.25 + 1.5)).astype(int).T
    found = np.bincount(3 * row + column, minlength=9) / count
    expected = shares(transport(), torch.from_numpy(start)).numpy()
    sigma = np.sqrt(expected * (1 - expected) / count) + 1e-5
    assert (np.abs(found - expected) < 4 * sigma).all()


def over_a_pixel() -> torch.Tensor:
    """Places spread evenly over the middle pixel at three depths, [place, 3]."""
    axis = 0.25 * ((torch.arange(40, dtype=torch.float64) + 0.5) / 40 - 0.5)
    return torch.cartesian_prod(axis, axis, torch.tensor([0.05, 1.0, 1.95], dtype=torch.float64))


def test_nothing_is_lost_without_trapping():
    """The nine signals are the whole energy wherever in the middle pixel it is left, within 1e-5."""
    total = shares(transport(), over_a_pixel()).sum(-1)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_charge_is_lost_in_gaps_by_their_area():
    """On the mean over a pixel, (gap / pitch) x loss along either axis, whatever the width of the cloud,
    within 1e-4; all of it at a corner of narrow clouds: 0.9 x 0.9 is left."""
    charge = transport(gap_um=50.0, gap_loss_fraction=0.1)
    lost = 1 - shares(charge, over_a_pixel()).sum(-1).mean()
    assert float(lost) == pytest.approx(1 - (1 - 0.1 * 50 / 250) ** 2, abs=1e-4)
    corner = torch.tensor([0.125, 0.125, 2.0], dtype=torch.float64)
    narrow = transport(gap_um=50.0, gap_loss_fraction=0.1, cloud_um=3.0)
    assert float(shares(narrow, corner).sum()) == pytest.approx(0.81, abs=1e-6)


def test_a_corner_is_shared_by_four():
    """A quarter for each of the four pixels that meet there, within 1e-5."""
    parts = shares(transport(), torch.tensor([0.125, 0.125, 1.0], dtype=torch.float64))
    assert parts[[4, 5, 7, 8]].tolist() == pytest.approx([0.25] * 4, abs=1e-5)
