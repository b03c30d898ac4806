"""Schedules told from the step's number."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hspi_learn.tasks.schedule import cosine_rate, mirrored_axes, ramp, warm_up_cosine


def test_rates_by_hand() -> None:
    """Of 105 updates the first 5 rise by fifths; then a cosine over 100, at its middle half and at a quarter
    (1 + sqrt(1/2)) / 2. It stays at the end. A tenth of 20 updates: the rise is two."""
    rates = [cosine_rate(done, 105) for done in range(110)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert [rates[30], rates[55], rates[80]] == pytest.approx(
        [(1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert rates[105:] == pytest.approx([0.0] * 5)
    assert [cosine_rate(done, 20, warm_up=0.1) for done in (0, 1, 2, 11)] == pytest.approx([0.5, 1, 1, 0.5])
    assert cosine_rate(0, 1) == cosine_rate(1, 2) == 1.0


def test_the_schedule_of_an_optimiser() -> None:
    """Learning rates before each of 45 updates: 5 % of them, two, for the rise, unless a tenth is asked for;
    every group of parameters has its own highest rate."""
    for settings, rise in (({}, 2), ({"warm_up": 0.1}, 4)):
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        optimizer = torch.optim.SGD([{"params": parameters[0], "lr": 4.0}, {"params": parameters[1]}], lr=1.0)
        schedule = warm_up_cosine(optimizer, 45, **settings)
        rates = []
        for _ in range(46):
            rates.append(schedule.get_last_lr())
            optimizer.step()
            schedule.step()
        assert [rate for _, rate in rates[:rise]] == pytest.approx([(k + 1) / rise for k in range(rise)])
        falling = [0.5 + 0.5 * math.cos(math.pi * k / (45 - rise)) for k in range(46 - rise)]
        assert [rate for _, rate in rates[rise:]] == pytest.approx(falling, abs=1e-12)
        assert [high for high, _ in rates] == pytest.approx([4 * rate for _, rate in rates], abs=1e-12)


@given(steps=st.integers(1, 5000))
def test_rate_rises_then_falls_to_nothing(steps: int) -> None:
    """Between 0 and 1 throughout, its highest reached, and 0 at the end."""
    rates = [cosine_rate(done, steps) for done in range(steps + 1)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) == 1
    assert rates[-1] < 1e-9 or steps == 1


@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6))
def test_mirrors_follow_from_seed_and_step(seed: int, step: int) -> None:
    assert mirrored_axes((-1, -3), seed, step) == mirrored_axes((-1, -3), seed, step)


def test_each_axis_is_mirrored_half_of_the_time() -> None:
    """400 steps: 200 +- 50 (five standard deviations) for each axis, and all four combinations."""
    drawn = [mirrored_axes((-1, -3), 0, step) for step in range(400)]
    for axis in (-1, -3):
        assert 150 < sum(axis in axes for axes in drawn) < 250
    assert len(set(drawn)) == 4


def test_every_seed_mirrors_in_an_order_of_its_own() -> None:
    """Of 60 steps the mirrors of one seed agree with another's, shifted or not, about half of the time: in
    no pair of seven as often as in all but ten."""
    drawn = [[mirrored_axes((-1,), seed, step) for step in range(60)] for seed in range(7)]
    for first in range(7):
        for second in range(first):
            for shift in range(3):
                pairs = list(zip(drawn[first][shift:], drawn[second], strict=False))
                assert sum(a == b for a, b in pairs) < len(pairs) - 10
    assert mirrored_axes((), 0, 0) == ()


def test_ramp() -> None:
    """0 until a quarter, 1 from a half on, linear between."""
    assert [ramp(p, 0.25) for p in (0.0, 0.125, 0.25, 0.375, 0.5, 1.0)] == [0, 0, 0, 0.5, 1, 1]
    assert [ramp(p, 0.8) for p in (0.79, 0.8, 0.9, 1.0)] == pytest.approx([0, 0, 0.125, 0.25])
    assert [ramp(p, 0.0) for p in (0.0, 0.5, 1.0)] == [1, 1, 1]
