"""Ratios of mean errors with their intervals."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from hspi_learn.evaluation.denoising import mean_ratio


def test_ratio_of_means_by_hand() -> None:
    """Means 2 and 4: 0.5; half the 95 % width is t s / (sqrt(3) 4) with s the SD of a - b / 2."""
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 4.0, 5.0])
    found = mean_ratio(first, second)
    spread = (first - second / 2).std() / 3**0.5 / 4
    assert found.value == pytest.approx(0.5)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) * float(spread))


def test_interval_holds_the_ratio_as_often_as_it_says() -> None:
    """Of 30 scans whose errors share what makes a scan hard: in 95 % of 2,000 studies, within 2 %."""
    generator = torch.Generator().manual_seed(0)
    hard = 1 + 0.3 * torch.rand(2000, 30, generator=generator)
    first = 0.8 * hard + 0.05 * torch.randn(2000, 30, generator=generator)
    second = hard + 0.05 * torch.randn(2000, 30, generator=generator)
    held = [
        low <= 0.8 <= high for _, low, high in (mean_ratio(*pair) for pair in zip(first, second, strict=True))
    ]
    assert sum(held) / len(held) == pytest.approx(0.95, abs=0.02)


def test_what_is_not_defined_is_left_out() -> None:
    """A scan without the figure (NaN by both) is left out; no scan at all has no ratio."""
    found = mean_ratio(torch.tensor([1.0, math.nan, 1.0]), torch.tensor([2.0, math.nan, 2.0]))
    assert found.value == pytest.approx(0.5)
    assert math.isnan(mean_ratio(torch.tensor([math.nan]), torch.tensor([math.nan])).value)
