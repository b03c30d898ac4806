"""Bootstrap interval of the difference of a metric between two methods that were given the same mice.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Interval(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0: only then is one method said to be better."""
        return self.low > 0 or self.high < 0


def paired_interval(
    first: Tensor, second: Tensor, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean of ``first - second`` over mice with a bootstrap percentile interval.

    Mice are drawn with replacement, both methods with the same mice, so that what makes a mouse hard
    cancels.

    Args:
        first: metric of each mouse by one method [mouse].
        second: metric of the same mice by another method [mouse].
        level: coverage of the interval.
        resamples: bootstrap draws.
        seed: random seed of the draws.

    Returns:
        All NaN without a mouse that has both values.
    """
    difference = (first - second).double()
    difference = difference[torch.isfinite(difference)]
    if not len(difference):
        return Interval(torch.nan, torch.nan, torch.nan)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(difference), (resamples, len(difference)), generator=generator)
    means = difference[drawn].mean(1)
    tail = (1 - level) / 2
    return Interval(float(difference.mean()), float(means.quantile(tail)), float(means.quantile(1 - tail)))
