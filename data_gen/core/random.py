"""Random numbers from the ranges that a config states, and seeded generators."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

from data_gen.core.errors import UserError

Range = tuple[float, float]
"""Lowest and highest value, both allowed."""


def checked_range(key: str, values: Sequence[float], above: float = 0.0, most: float = math.inf) -> Range:
    """The two numbers of a range.

    Raises:
        UserError: not two finite numbers in rising order, the lower one under ``above`` or the upper one over
            ``most``.
    """
    numbers = [float(v) for v in values]
    finite = len(numbers) == 2 and all(map(math.isfinite, numbers))
    if not finite or not above <= numbers[0] <= numbers[1] <= most:
        end = f" <= {most:g}" if math.isfinite(most) else ""
        raise UserError(
            f"{key} is {numbers}; it needs [lowest, highest] with {above:g} <= lowest <= highest{end}"
        )
    return numbers[0], numbers[1]


def uniform(span: Range, generator: torch.Generator) -> float:
    """A number drawn uniformly from the range."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))
    return span[0] + share * (span[1] - span[0])


def log_uniform(span: Range, generator: torch.Generator) -> float:
    """A number whose logarithm is uniform over the range; uniform where the range starts at 0."""
    if span[0] <= 0:
        return uniform(span, generator)
    return math.exp(uniform((math.log(span[0]), math.log(span[1])), generator))


def seeded_generator(*key: object) -> torch.Generator:
    """A generator that depends on the key alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
