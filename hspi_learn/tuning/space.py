"""What is searched: settings by their dotted key, each one of several values or a number from a range."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from data_gen.core.errors import UserError

EDGE = 0.05
"""Share of a range next to each of its ends that counts as its edge; chosen, no source."""


@dataclass(frozen=True)
class OneOf:
    """One of several values of any kind.

    Args:
        values: the candidates.
    """

    values: tuple[Any, ...]

    def suggested(self, trial: optuna.Trial, key: str) -> Any:
        """The value of a trial."""
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in self.values]))

    def stored(self, value: Any) -> Any:
        """A value as the search keeps it; None if it is no candidate."""
        return json.dumps(value) if value in self.values else None

    def read(self, stored: Any) -> Any:
        """The value that was stored."""
        return json.loads(stored)

    def at_edge(self, value: Any) -> bool:
        """Whether it is the lowest or highest of three or more numbers: one beyond might be better."""
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)
        return numbers and len(self.values) > 2 and value in (min(self.values), max(self.values))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all when a config is checked."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number between two others.

    Args:
        low: lowest value.
        high: highest value.
        log: whether its logarithm is searched.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether both ends are whole numbers, so that all values are."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggested(self, trial: optuna.Trial, key: str) -> Any:
        """The value of a trial."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def stored(self, value: Any) -> Any:
        """A value as the search keeps it; None if it is outside."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if number and self.low <= value <= self.high else None

    def read(self, stored: Any) -> Any:
        """The value that was stored."""
        return stored

    def at_edge(self, value: float) -> bool:
        """Whether it lies within 5 % of the range of one end, so that one beyond might be better."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return not low + EDGE * (high - low) <= at <= high - EDGE * (high - low)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all when a config is checked."""
        return self.low, self.high


def read_space(space: Mapping[str, Any], key: str = "search.space") -> dict[str, OneOf | Range]:
    """Settings by key, from a list of values or ``{low: ..., high: ..., log: ...}`` each.

    Raises:
        UserError: there is none, or one is neither.
    """
    if not space:
        raise UserError(
            f"{key} is empty; it needs settings to search, as in {key}={{task.optimizer.lr: [1e-4, 1e-3]}}"
        )
    return {name: _read(f"{key}.{name}", node) for name, node in space.items()}


def _read(key: str, node: Any) -> OneOf | Range:
    if isinstance(node, Sequence) and not isinstance(node, str) and len(node) > 1:
        values = tuple(json.loads(json.dumps(list(node))))
        if len({json.dumps(value) for value in values}) == len(values):
            return OneOf(values)
    if isinstance(node, Mapping) and {"low", "high"} <= set(node) <= {"low", "high", "log"}:
        low, high, log = node["low"], node["high"], node.get("log", False)
        numbers = all(isinstance(end, (int, float)) and math.isfinite(end) for end in (low, high))
        if numbers and isinstance(log, bool) and (0 if log else -math.inf) < low < high:
            return Range(low, high, log)
    raise UserError(
        f"{key} is {node!r}; it needs two or more different values, or {{low: ..., high: ..., log: true}} "
        "with low < high (and 0 < low for log)"
    )
