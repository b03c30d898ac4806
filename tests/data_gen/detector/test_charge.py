"""Drift and sharing against single charges that walk at random, and against closed forms."""

import math

import numpy as np
import pytest
import torch

from data_gen.detector.charge import charge_transport


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def transport(cloud_um: float = 10.0, bias_v: float = 1000.0, trapping: float = 1e6):
    return charge_transport(
        number(0.25),
        number(2.0),
        number(bias_v),
        (number(trapping), number(trapping)),
        number(293.0),
        number(cloud_um),
    )


def test_cloud_grows_by_diffusion():
    """sqrt(2 kT/q d^2/V) from the cathode: 14.2 um over 2 mm at 1000 V and 293 K, with 10 um in square."""
    exact = math.hypot(0.010, math.sqrt(2 * 0.025249 * 4 / 1000))
    assert float(transport().cloud_at_anode_mm(number(0.0))) == pytest.approx(exact, rel=1e-3)
    assert float(transport().cloud_at_anode_mm(number(2.0))) == pytest.approx(0.010, rel=1e-3)


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
    shares = transport().signals(torch.from_numpy(start), 3).numpy()
    sigma = np.sqrt(shares * (1 - shares) / count) + 1e-5
    assert (np.abs(found - shares) < 4 * sigma).all()


def test_nothing_is_lost_without_trapping():
    """The nine signals are the whole energy wherever in the middle pixel it is left, within 1e-5."""
    axis = torch.linspace(-0.125, 0.125, 5, dtype=torch.float64)
    place = torch.cartesian_prod(axis, axis, torch.tensor([0.05, 1.0, 1.95], dtype=torch.float64))
    assert torch.allclose(
        transport().signals(place, 3).sum(-1), torch.ones(len(place), dtype=torch.float64), atol=1e-5
    )


def test_a_corner_is_shared_by_four():
    """A quarter for each of the four pixels that meet there, within 1e-5."""
    shares = transport().signals(torch.tensor([0.125, 0.125, 1.0], dtype=torch.float64), 3)
    assert shares[[4, 5, 7, 8]].tolist() == pytest.approx([0.25] * 4, abs=1e-5)
