"""What a cell of a benchmark finds: points with their tolerances, and plots with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Point:
    """One figure held to one tolerance. It passes where ``value <= limit``; NaN never does.

    Args:
        name: of the point within its cell.
        value: the figure: a deviation from the truth, or a ratio.
        limit: the tolerance; None for a figure that is reported and held to nothing.
        truth: what the figure was compared with.
        source: where the truth comes from.
        note: under which conditions, in a few words.
        unit: of value and limit; "" for a share or a ratio.
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
        """Whether the figure is within its tolerance; None where it has none."""
        return None if self.limit is None else bool(self.value <= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a NaN, which JSON lacks, is None."""
        data = asdict(self)
        return data | {"value": self.value if np.isfinite(self.value) else None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Point:
        """The point that :meth:`to_dict` described."""
        value = float("nan") if data["value"] is None else float(data["value"])
        return cls(**{**data, "value": value})


@dataclass(frozen=True)
class Plot:
    """Curves of one figure, so that it can be drawn again from the saved arrays.

    Args:
        name: of the figure's file.
        caption: what it shows.
        x_label: with unit.
        y_label: with unit.
        curves: (x, y) by label.
        scales: of the two axes.
    """

    name: str
    caption: str
    x_label: str
    y_label: str
    curves: Mapping[str, tuple[Array, Array]]
    scales: tuple[Scale, Scale] = ("linear", "linear")


@dataclass(frozen=True)
class Found:
    """All that a cell found."""

    points: Sequence[Point]
    plots: Sequence[Plot] = field(default_factory=tuple)
