"""Intervals of means: Student's formula by hand, failures, and how often they hold the truth."""

import math

import numpy as np
import pytest
import torch

from hspi_learn.metrics import Interval, mean_interval, paired_interval

SKEW = 1.0
"""Skewness of the values; clean differences of NRMSE between the demo's methods have 0.7 or less."""


def skewed(generator: np.random.Generator, samples: int, n: int) -> torch.Tensor:
    """Samples of a gamma distribution of this skewness (shape 4 / skew^2), less its mean."""
    shape = 4 / SKEW**2
    return torch.from_numpy(generator.gamma(shape, size=(samples, n)) - shape)


def coverage(samples: int, n: int) -> float:
    """Share of the 95 % intervals that hold the true mean."""
    found = [mean_interval(values) for values in skewed(np.random.default_rng(n), samples, n)]
    return float(np.mean([low <= 0 <= high for _, low, high in found]))


def test_interval_by_hand() -> None:
    """Of 1, 2, 3: mean 2 and half-width t(0.975, 2) / sqrt(3) = 4.302653 / 1.732051; 1e-6."""
    found = mean_interval(torch.tensor([1.0, 2.0, 3.0]))
    assert found.value == 2.0
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2 - found.low == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert not found.excludes_zero
    assert mean_interval(torch.tensor([4.0, 4.0])) == Interval(4.0, 4.0, 4.0)
    alone = mean_interval(torch.tensor([7.0]))
    assert alone.value == 7.0
    assert math.isnan(alone.low)
    assert math.isnan(mean_interval(torch.tensor([])).value)


def test_other_levels_by_hand() -> None:
    """90 % of 1, 2, 3: half-width t(0.95, 2) / sqrt(3) = 2.919986 / 1.732051; 1e-6."""
    values = torch.tensor([1.0, 2.0, 3.0])
    for found in (mean_interval(values, 0.9), paired_interval(values + 5, torch.full((3,), 5.0), 0.9)):
        assert found.value == 2.0
        assert found.high - 2 == pytest.approx(2.919986 / math.sqrt(3), rel=1e-6)
        assert 2 - found.low == pytest.approx(2.919986 / math.sqrt(3), rel=1e-6)


def test_only_an_interval_on_one_side_excludes_zero() -> None:
    """Above, below, around, from 0 on, up to 0, and none at all."""
    ends = [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.3), (0.0, 0.3), (-0.3, 0.0), (math.nan, math.nan)]
    found = [Interval((low + high) / 2, low, high).excludes_zero for low, high in ends]
    assert found == [True, True, False, False, False, False]


def test_pairs_cancel_what_makes_a_mouse_hard() -> None:
    """The difference of each mouse counts: 0.1, 0.2 and 0.3 whatever the mice; 1e-6."""
    hard = torch.tensor([5.0, 1.0, 9.0])
    found = paired_interval(hard + torch.tensor([0.1, 0.2, 0.3]), hard)
    assert found.value == pytest.approx(0.2, abs=1e-6)
    assert found.high - 0.2 == pytest.approx(0.1 * 4.302653 / math.sqrt(3), rel=1e-5)
    assert not paired_interval(hard, hard).excludes_zero


def test_a_failure_has_no_interval_and_an_undefined_mouse_is_left_out() -> None:
    """NaN by both methods is a mouse without the figure; infinite or NaN by one is a method that failed."""
    first, second = torch.tensor([1.0, 2.0, 3.0, torch.nan]), torch.tensor([0.0, 0.0, 0.0, torch.nan])
    assert paired_interval(first, second) == mean_interval(torch.tensor([1.0, 2.0, 3.0]))
    for wrong in (torch.inf, torch.nan):
        failed = first.clone()
        failed[1] = wrong
        assert all(math.isnan(end) for end in paired_interval(failed, second))
        assert all(math.isnan(end) for end in paired_interval(second, failed))


@pytest.mark.parametrize("n", [12, 24])
def test_coverage_of_a_skewed_mean(n: int) -> None:
    """95 % intervals of a gamma distribution's mean hold it in 92 to 97 % of 1,500 samples (SE 0.6 %)."""
    assert 0.92 <= coverage(1_500, n) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 24, 100])
def test_coverage_in_many_samples(n: int) -> None:
    """The same within 93 to 97 % in 40,000 samples (SE 0.1 %)."""
    assert 0.93 <= coverage(40_000, n) <= 0.97
