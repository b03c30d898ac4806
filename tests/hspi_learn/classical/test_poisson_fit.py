"""Scales of parts in Poisson counts, against closed forms, scipy's own optimiser and a dense search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2

from hspi_learn.classical.poisson_fit import Array, PoissonFit


def fit_of(parts: Array, known: Array, counts: Array) -> PoissonFit:
    """A fit to counts of all measurements."""
    some = counts > 0
    return PoissonFit(parts[:, some], known[some], counts[some], parts.sum(1))


def drawn(parts: int, measurements: int, level: float, seed: int) -> tuple[Array, Array, Array, Array]:
    """Random parts, some of them not there, background, and Poisson counts of them."""
    generator = np.random.default_rng(seed)
    a = generator.random((parts, measurements)) ** 6
    scales = level * generator.random(parts) * (generator.random(parts) > 0.3)
    known = np.full(measurements, 0.02)
    return a, known, generator.poisson(scales @ a + known).astype(float), scales


@pytest.mark.parametrize(("parts", "level"), [(3, 10.0), (8, 1.0), (20, 0.3)])
def test_maximum_against_scipy(parts: int, level: float) -> None:
    """L-BFGS-B over all measurements: L to 1e-9 of itself, scales to 1e-5; slopes at 1e-6 or less."""
    a, known, counts, _ = drawn(parts, 400, level, parts)
    found = fit_of(a, known, counts).maximum()

    def loss(x: Array) -> tuple[float, Array]:
        expected = x @ a + known
        return float(expected.sum() - counts @ np.log(expected)), a @ (1 - counts / expected)

    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 20_000, "maxfun": 100_000}
    bounds = [(0, None)] * parts
    other = minimize(loss, np.ones(parts), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    assert found.converged
    assert found.scales == pytest.approx(other.x, rel=1e-5, abs=1e-5)
    assert found.value == pytest.approx(known.sum() - other.fun, rel=1e-9)
    slope = -loss(found.scales)[1]
    assert np.abs(slope[found.scales > 0]).max() < 1e-6
    assert (slope <= 1e-6).all()
    assert (found.scales == 0).any()


def test_one_part_above_background_by_hand() -> None:
    """100 counts, 20 of them background, 4 at scale 1: (100 - 20) / 4; and never below 0."""
    a, known = np.array([[4.0]]), np.array([20.0])
    assert fit_of(a, known, np.array([100.0])).maximum().scales == pytest.approx([20.0], rel=1e-12)
    assert fit_of(a, known, np.array([5.0])).maximum().scales == pytest.approx([0.0])


def test_without_a_count_all_is_zero() -> None:
    """L = -s c is highest at 0; the upper end of the interval loses chi2 / 2, so it is chi2 / (2 c)."""
    a, known = np.array([[4.0, 2.0]]), np.array([1.0, 1.0])
    fit = fit_of(a, known, np.zeros(2))
    best = fit.maximum()
    assert best.converged
    assert best.scales == pytest.approx([0.0])
    low, high = fit.profile_interval(0, best, 0.01, 0.9)
    assert low == 0
    assert high == pytest.approx(chi2.ppf(0.9, 1) / 12, rel=1e-3)


def test_parts_that_are_alike_share_the_counts() -> None:
    """Two columns in proportion: their sum is that of one of them, and nothing breaks; 1e-6."""
    a, known, counts, _ = drawn(3, 300, 5.0, 2)
    alone = fit_of(a, known, counts).maximum()
    twice = fit_of(np.vstack((a, 3 * a[:1])), known, counts).maximum()
    assert twice.converged
    assert twice.scales[0] + 3 * twice.scales[3] == pytest.approx(alone.scales[0], rel=1e-6)
    assert twice.value == pytest.approx(alone.value, rel=1e-12)


def test_far_starts_reach_the_same_place() -> None:
    """From scales a million times too large or too small, from 0, and where L is minus infinity: 1e-6."""
    a, _, counts, _ = drawn(4, 300, 5.0, 5)
    fit = fit_of(a, np.zeros(300), counts)
    best = fit.maximum()
    for factor in (1e6, 1e-6, 0.0):
        other = fit.maximum(factor * (best.scales + 1))
        assert other.converged
        assert other.scales == pytest.approx(best.scales, rel=1e-6, abs=1e-6)


def test_profile_interval_by_search() -> None:
    """Two parts: the ends are where a dense search over the other finds the wanted loss, 5e-3."""
    a, known, _, _ = drawn(2, 60, 1.0, 12)
    fit = fit_of(a, known, np.random.default_rng(0).poisson(np.array([3.0, 5.0]) @ a + known).astype(float))
    best = fit.maximum()
    assert (best.scales > 0).all()
    others = np.linspace(0, 3 * best.scales[1] + 5, 20_001)
    for end in fit.profile_interval(0, best, 1.0, 0.9):
        profile = max(fit.likelihood(np.array([end, other])) for other in others)
        assert 2 * (best.value - profile) == pytest.approx(chi2.ppf(0.9, 1), abs=5e-3)


def test_an_interval_ends_where_the_counts_end() -> None:
    """A part that alone explains some counts is not 0; the ends by the closed form of one part, 2e-3."""
    a, counts = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([9.0, 4.0])
    fit = fit_of(a, np.zeros(2), counts)
    low, high = fit.profile_interval(0, fit.maximum(), 3.0, 0.9)
    for end in (low, high):
        assert 2 * (9 * math.log(9 / end) - 9 + end) == pytest.approx(chi2.ppf(0.9, 1), abs=2e-3)
    assert 0 < low < 9 < high
