"""Findings of a cell of a suite: numbers with their tolerances, and plots with their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, InstanceOf, PlainSerializer, TypeAdapter

Array = NDArray[np.float64]
_NUMBERS = TypeAdapter(list[float])
StoredArray = Annotated[
    InstanceOf[np.ndarray],
    BeforeValidator(lambda values: np.array(_NUMBERS.validate_python(list(values)))),
    PlainSerializer(lambda values: values.tolist(), return_type=list[float]),
]
"""An array that pydantic writes as a list of numbers, and reads back to the same bits."""
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Point:
    """One number held to one tolerance. It passes where ``value <= limit``; NaN never does.

    Args:
        name: name of the point within its cell.
        value: a deviation from the truth, or a ratio.
        limit: the tolerance; None for a number that is reported without one.
        truth: what the value was compared with.
        source: where the truth comes from.
        note: conditions, in a few words.
        unit: unit of value and limit; "" for a share or a ratio.
    """

    name: str
    value: float
    limit: float | None
    truth: str
    source: str
    note: str = ""
    unit: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the value is within its tolerance; None where it has none."""
        return None if self.limit is None else bool(self.value <= self.limit)


@dataclass(frozen=True)
class Plot:
    """Curves of one plot, so that it can be drawn again from the saved arrays.

    Args:
        name: name of the plot's file.
        caption: what it shows.
        x_label: label of the x axis, with unit.
        y_label: label of the y axis, with unit.
        curves: (x, y) by label.
        scales: scales of the x and the y axis.
    """

    name: str
    caption: str
    x_label: str
    y_label: str
    curves: Mapping[str, tuple[StoredArray, StoredArray]]
    scales: tuple[Scale, Scale] = ("linear", "linear")


@dataclass(frozen=True)
class Findings:
    """Everything that a cell computes.

    Args:
        points: numbers with their tolerances.
        plots: plots with their data.
        headlines: numbers that ``metrics.json`` also holds under these very names, without the cell's.
    """

    points: Sequence[Point]
    plots: Sequence[Plot] = field(default_factory=tuple)
    headlines: Mapping[str, float] = field(default_factory=dict)
