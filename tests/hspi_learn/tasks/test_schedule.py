"""Schedules told from the step's number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hspi_learn.tasks.schedule import cosine_rate, mirrored_axes, ramp


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


def test_ramp() -> None:
    """0 until a quarter, 1 from a half on, linear between."""
    assert [ramp(p, 0.25) for p in (0.0, 0.125, 0.25, 0.375, 0.5, 1.0)] == [0, 0, 0, 0.5, 1, 1]
    assert ramp(0.0, 0.0) == 1
