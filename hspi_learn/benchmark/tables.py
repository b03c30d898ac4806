"""The table of a suite: truth, source, tolerance, figure, pass; a row for each point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from data_gen.validation.point import Point
from hspi_learn.benchmark.store import CellResult
from hspi_learn.evaluation.tables import Table

COLUMNS = ("Point", "figure", "tolerance", "pass", "truth", "source", "conditions")
_VERDICTS = {True: "yes", False: "MISS", None: "-"}


def named_points(results: Sequence[CellResult]) -> Iterator[tuple[str, Point]]:
    """Every point with the name under which files hold it, ``cell/point``."""
    for result in results:
        yield from ((f"{result.name}/{point.name}", point) for point in result.points)


def metrics(results: Sequence[CellResult]) -> dict[str, float]:
    """What ``metrics.json`` holds: value, limit and pass (0 or 1) of each point, and the suite's totals.

    A value that is no number is left out and does not pass; of a failed cell there is ``CELL/pass`` 0.
    """
    found: dict[str, float] = {}
    for name, point in named_points(results):
        if math.isfinite(point.value):
            found[f"{name}/value"] = point.value
        if point.limit is not None:
            found |= {f"{name}/limit": point.limit, f"{name}/pass": float(point.passed is True)}
    found |= {f"{result.name}/pass": 0.0 for result in results if result.error}
    judged = [value for name, value in found.items() if name.endswith("/pass")]
    return found | {"suite/points": float(len(judged)), "suite/passed": float(sum(judged))}


def points_table(name: str, caption: str, results: Sequence[CellResult]) -> Table:
    """The table as people read it."""
    rows = [_row(point_name, point) for point_name, point in named_points(results)]
    rows += [_failed(result) for result in results if result.error]
    return Table(name, caption, COLUMNS, tuple(rows))


def full_table(name: str, caption: str, results: Sequence[CellResult]) -> Table:
    """The same with numbers in full precision and units apart, for CSV."""
    rows = [
        (
            point_name,
            point.value,
            math.nan if point.limit is None else point.limit,
            point.unit,
            _VERDICTS[point.passed],
            point.truth,
            point.source,
            point.note,
        )
        for point_name, point in named_points(results)
    ]
    columns = ("point", "figure", "tolerance", "unit", "pass", "truth", "source", "conditions")
    return Table(name, caption, columns, tuple(rows))


def statements(results: Sequence[CellResult]) -> list[str]:
    """What may be said of the whole: how many points hold, which miss, which cells failed."""
    judged = [(name, point) for name, point in named_points(results) if point.limit is not None]
    held = sum(point.passed is True for _, point in judged)
    told = [f"{held} of {len(judged)} points are within their tolerance."]
    told += [
        f"Miss: {name}: {_figure(point.value, point.unit)}, tolerance {_figure(point.limit, point.unit)}."
        for name, point in judged
        if not point.passed
    ]
    return told + [f"Failed: {r.name}: {_reason(r.error)}" for r in results if r.error]


def _row(name: str, point: Point) -> tuple[str, ...]:
    figures = (_figure(point.value, point.unit), _figure(point.limit, point.unit))
    return (name, *figures, _VERDICTS[point.passed], point.truth, point.source, point.note)


def _failed(result: CellResult) -> tuple[str, ...]:
    return (result.name, "-", "-", "FAILED", "", "", _reason(result.error))


def _reason(error: str) -> str:
    """The first line of an error, which says what went wrong."""
    return error.splitlines()[0]


def _figure(value: float | None, unit: str) -> str:
    """A number in three digits with its unit; a plain share below 1 % keeps its power of ten."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3g} {unit}".strip()
