"""Finished cells on disk: each a JSON file that is whole or absent, its arrays beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.core.errors import UserError
from data_gen.core.files import whole_file
from data_gen.validation.point import Array, Plot, Point
from hspi_learn.io.atomic import write_json
from hspi_learn.io.run_folder import read_json

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellResult:
    """What became of a cell.

    Args:
        name: of the cell.
        key: hash of config, data and code.
        seconds: that it took.
        machine: that it ran on.
        points: that it found.
        plots: with their numbers.
        error: why it failed, in its first line, and where; "" if it did not.
    """

    name: str
    key: str
    seconds: float
    machine: str
    points: Sequence[Point] = ()
    plots: Sequence[Plot] = field(default_factory=tuple)
    error: str = ""


@dataclass(frozen=True)
class CellStore:
    """A folder of cells, ``NAME-KEY.json`` and ``NAME-KEY.npz``; several runs may share it."""

    folder: Path

    def path(self, name: str, key: str) -> Path:
        """The file whose presence means that the cell is done, or has failed."""
        return self.folder / f"{name}-{key}.json"

    def write(self, result: CellResult) -> None:
        """Keep a result; the arrays come first, so that a result on disk is complete."""
        path = self.path(result.name, result.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if result.plots:
            with whole_file(path.with_suffix(".npz")) as part, part.open("wb") as file:
                np.savez_compressed(file, **_arrays(result.plots))
        write_json(path, _plain(result))

    def read(self, name: str, key: str) -> CellResult | None:
        """The result of a cell, None if there is none; a damaged one counts as none."""
        path = self.path(name, key)
        if not path.is_file():
            return None
        try:
            return _result(read_json(path), path.with_suffix(".npz"))
        except (UserError, OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s cannot be read (%s); the cell runs again", path, error)
            return None


def _plain(result: CellResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "key": result.key,
        "seconds": result.seconds,
        "machine": result.machine,
        "error": result.error,
        "points": [point.to_dict() for point in result.points],
        "plots": [
            {
                "name": plot.name,
                "caption": plot.caption,
                "x_label": plot.x_label,
                "y_label": plot.y_label,
                "scales": list(plot.scales),
                "labels": list(plot.curves),
            }
            for plot in result.plots
        ],
    }


def _arrays(plots: Sequence[Plot]) -> dict[str, Any]:
    """Curves by name: plot, number of the curve, axis."""
    return {
        f"{plot.name}.{i}.{axis}": np.asarray(values, dtype=np.float64)
        for plot in plots
        for i, curve in enumerate(plot.curves.values())
        for axis, values in zip("xy", curve, strict=True)
    }


def _result(data: Mapping[str, Any], arrays_file: Path) -> CellResult:
    points = tuple(Point.from_dict(point) for point in data["points"])
    plots: tuple[Plot, ...] = ()
    if data["plots"]:
        with np.load(arrays_file, allow_pickle=False) as arrays:
            plots = tuple(_plot(plot, arrays) for plot in data["plots"])
    return CellResult(
        data["name"], data["key"], data["seconds"], data["machine"], points, plots, data["error"]
    )


def _plot(data: Mapping[str, Any], arrays: Mapping[str, Array]) -> Plot:
    name = data["name"]
    curves = {
        label: (arrays[f"{name}.{i}.x"], arrays[f"{name}.{i}.y"]) for i, label in enumerate(data["labels"])
    }
    x, y = data["scales"]
    return Plot(name, data["caption"], data["x_label"], data["y_label"], curves, (x, y))
