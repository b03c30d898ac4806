"""Hits in bins against the normal distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.detector.histogram import Axis, Resolution, at_recorded_pixels
from data_gen.detector.hits import Hits


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


SHARP = Resolution(number(0.09), number(4.4e-4), number(0.0), number(0.0))


def hit(energy_kev: float, shares: tuple[float, ...] = (1.0,)) -> Hits:
    one = torch.ones(1, dtype=torch.float64)
    whole = torch.ones(1, dtype=torch.int64)
    squares = sum(share**2 for share in shares)
    return Hits(one, energy_kev * one[:, None], len(shares) * whole, squares * one, 0 * whole, 0 * whole, 1)


@pytest.mark.parametrize(("energy", "pixels"), [(30.0, 1), (122.0, 1), (122.0, 3), (400.0, 4)])
def test_mean_and_variance(energy, pixels):
    """n noise^2 + F w E, within 1.2 %, of which nodes add 1 %; the mean within 0.005 keV."""
    edges = torch.arange(energy - 12, energy + 12, 0.02, dtype=torch.float64)
    axis = Axis.of(edges, SHARP)
    counts = axis.blurred(axis.gathered(hit(energy, (1 / pixels,) * pixels)))[0, 0, 1:-1]
    centre = (edges[1:] + edges[:-1]) / 2
    mean = float((counts * centre).sum())
    assert mean == pytest.approx(energy, abs=0.005)
    assert float((counts * (centre - mean) ** 2).sum()) == pytest.approx(
        pixels * 0.09 + 4.4e-4 * energy, rel=0.012
    )


@pytest.mark.parametrize("shares", [(1.0,), (0.9, 0.1), (0.5, 0.5), (0.5, 0.3, 0.2), (0.25,) * 4])
def test_each_added_pixel_has_gain_and_offset_of_its_own(shares):
    """200,000 draws of a gain (0.5 %) and an offset (0.6 keV) for each pixel that shares 218 keV: variance
    within 1.5 %, of which the draws leave 0.4 % and nodes 1 %."""
    rng = np.random.default_rng(1)
    part = 218.0 * np.array(shares)
    gain, offset = rng.standard_normal((2, 200_000, len(part)))
    drawn = float((0.005 * gain * part + 0.6 * offset).sum(axis=1).var()) + len(part) * 0.09 + 4.4e-4 * 218
    edges = torch.arange(200, 236, 0.02, dtype=torch.float64)
    axis = Axis.of(edges, replace(SHARP, offset_kev2=number(0.36), gain2=number(2.5e-5)))
    counts = axis.blurred(axis.gathered(hit(218.0, shares)))[0, 0, 1:-1]
    centre = (edges[1:] + edges[:-1]) / 2
    mean = float((counts * centre).sum())
    assert float((counts * (centre - mean) ** 2).sum()) == pytest.approx(drawn, rel=0.015)


@settings(max_examples=25, derandomize=True)
@given(energy=st.floats(0, 4000), low=st.floats(-100, 500), width=st.floats(1, 3000), bins=st.integers(1, 30))
def test_no_hit_is_lost(energy, low, width, bins):
    """Bins and both ends sum to 1 on any axis, within 1e-9."""
    axis = Axis.of(torch.linspace(low, low + width, bins + 1, dtype=torch.float64), SHARP)
    counts = axis.blurred(axis.gathered(hit(energy)))
    assert float(counts.sum()) == pytest.approx(1, abs=1e-9)
    assert (counts >= 0).all()


def test_binned_pixels_by_counting():
    """Steps of the anode's pixels counted over all places in a recorded pixel of 3 x 3, exactly."""
    spectra = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)[:, None, None]
    steps = {(0, 0): 0.5} | dict.fromkeys(((0, 1), (1, 0), (0, -1), (-1, 0)), 0.075)
    steps |= {(r, c): 0.05 for r in (-1, 1) for c in (-1, 1)}
    counted = torch.zeros(3, 3, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            for (r, c), share in steps.items():
                counted[(row + r) // 3 + 1, (column + c) // 3 + 1] += share / 9
    assert at_recorded_pixels(spectra, 3).flatten().tolist() == pytest.approx(counted.flatten().tolist())
