"""The report of a suite: table, figures, page, and the numbers of ``metrics.json``.

The table has a row for each point: value, tolerance, whether it passes, truth, source, conditions.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from data_gen.validation.point import Plot, Point
from hspi_learn.benchmark.engine import CellResult
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.report import write_report
from hspi_learn.evaluation.tables import Table
from hspi_learn.io.atomic import write_text
from hspi_learn.visual.style import paper_figure

COLUMNS = ("Point", "figure", "tolerance", "pass", "truth", "source", "conditions")
_CAPTION = "A point passes where its figure is at most its tolerance. Shares and ratios have no unit."
_VERDICTS = {True: "yes", False: "MISS", None: "-"}


def named_points(results: Sequence[CellResult]) -> Iterator[tuple[str, Point]]:
    """Every point with the name under which files hold it, ``cell/point``."""
    for result in results:
        yield from ((f"{result.name}/{point.name}", point) for point in result.points)


def metrics(results: Sequence[CellResult]) -> dict[str, float]:
    """What ``metrics.json`` holds: value, limit and pass (0 or 1) of each point, and the suite's totals.

    A value that is no number is left out and does not pass; of a failed cell there is ``CELL/pass`` 0.
    """
    numbers: dict[str, float] = {}
    for name, point in named_points(results):
        if math.isfinite(point.value):
            numbers[f"{name}/value"] = point.value
        if point.limit is not None:
            numbers |= {f"{name}/limit": point.limit, f"{name}/pass": float(point.passed is True)}
    numbers |= {f"{result.name}/pass": 0.0 for result in results if result.error}
    judged = [value for name, value in numbers.items() if name.endswith("/pass")]
    for result in results:
        numbers |= {name: value for name, value in result.headlines.items() if math.isfinite(value)}
    return numbers | {"suite/points": float(len(judged)), "suite/passed": float(sum(judged))}


def points_table(name: str, caption: str, results: Sequence[CellResult]) -> Table:
    """The table as people read it."""
    rows = [_row(point_name, point) for point_name, point in named_points(results)]
    rows += [_failed(result) for result in results if result.error]
    return Table(name, caption, COLUMNS, tuple(rows))


def full_table(name: str, caption: str, results: Sequence[CellResult]) -> Table:
    """The table of all points with numbers in full precision and units in a column of their own, for CSV."""
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
    """Summary in sentences: how many points are within tolerance, which are not, which cells failed."""
    judged = [(name, point) for name, point in named_points(results) if point.limit is not None]
    passed = sum(point.passed is True for _, point in judged)
    lines = [f"{passed} of {len(judged)} points are within their tolerance."]
    lines += [
        f"Miss: {name}: {_figure(point.value, point.unit)}, tolerance {_figure(point.limit, point.unit)}."
        for name, point in judged
        if not point.passed
    ]
    return lines + [f"Failed: {r.name}: {_reason(r.error)}" for r in results if r.error]


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


def write_output(
    folder: Path, name: str, title: str, facts: Mapping[str, str], results: Sequence[CellResult]
) -> dict[str, float]:
    """Write table, figures and report.html into the run's folder; returns the numbers."""
    table = points_table(name, _CAPTION, results)
    write_text(folder / "tables" / f"{name}.csv", full_table(name, _CAPTION, results).csv())
    write_text(folder / "tables" / f"{name}.md", table.markdown())
    write_text(folder / "tables" / f"{name}.tex", table.latex())
    pages = {
        f"{result.name}_{plot.name}": CaptionedFigure(drawn(plot), plot.caption)
        for result in results
        for plot in result.plots
    }
    tables = [table, _cells_table(results)]
    write_report(folder / "report.html", title, statements(results), facts, tables, pages)
    return metrics(results)


def write_results(
    folder: Path, name: str, title: str, facts: Mapping[str, str], results: Sequence[CellResult]
) -> None:
    """Write ``NAME.md`` and ``NAME.json``, small enough to be kept beside the code."""
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += [
        *(f"- {line}" for line in statements(results)),
        "",
        points_table(name, _CAPTION, results).markdown(),
    ]
    write_text(folder / f"{name}.md", "\n".join(lines))
    write_text(folder / f"{name}.json", json.dumps(metrics(results), indent=1, sort_keys=True) + "\n")


def drawn(plot: Plot) -> Figure:
    """A plot drawn as a figure."""
    with paper_figure(4.6, 3.2) as figure:
        axes = figure.add_subplot()
        for label, (x, y) in plot.curves.items():
            marker = "o" if len(x) < 20 else ""
            axes.plot(x, y, label=label, marker=marker, markersize=3)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        axes.set_xscale(plot.scales[0])
        axes.set_yscale(plot.scales[1])
        if len(plot.curves) > 1:
            axes.legend()
    return figure


def print_output(results: Sequence[CellResult], report: Path) -> None:
    """Show the table, what may be said of it, and where the page is."""
    console = Console() if sys.stdout.isatty() else Console(width=160)
    table = points_table("", "", results)
    printed = RichTable()
    for column in table.columns[:5]:
        printed.add_column(column, justify="right" if column in ("figure", "tolerance") else "left")
    for row in table.rows:
        printed.add_row(*(str(cell) for cell in row[:5]))
    console.print(printed)
    for line in statements(results):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"Report: {report.resolve()}", soft_wrap=True)


def _cells_table(results: Sequence[CellResult]) -> Table:
    """What ran when, where and how long; the errors of failed cells in full."""
    rows = tuple((r.name, r.key, r.seconds, r.machine, r.error or "done") for r in results)
    return Table("cells", "Cells of the run.", ("Cell", "key", "seconds", "machine", "result"), rows)
