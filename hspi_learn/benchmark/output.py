"""All files of a benchmark: numbers, table, figures and the page that shows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from data_gen.validation.point import Plot
from hspi_learn.benchmark.store import CellResult
from hspi_learn.benchmark.tables import full_table, metrics, points_table, statements
from hspi_learn.evaluation.figures import Captioned
from hspi_learn.evaluation.report import write_report
from hspi_learn.evaluation.tables import Table
from hspi_learn.io.atomic import write_text
from hspi_learn.visual.style import paper_figure

_CAPTION = "A point passes where its figure is at most its tolerance. Shares and ratios have no unit."


def write_output(
    folder: Path, name: str, title: str, facts: Mapping[str, str], results: Sequence[CellResult]
) -> dict[str, float]:
    """Write table, figures and report.html into the run's folder; returns the numbers."""
    table = points_table(name, _CAPTION, results)
    write_text(folder / "tables" / f"{name}.csv", full_table(name, _CAPTION, results).csv())
    write_text(folder / "tables" / f"{name}.md", table.markdown())
    write_text(folder / "tables" / f"{name}.tex", table.latex())
    pages = {
        f"{result.name}_{plot.name}": Captioned(drawn(plot), plot.caption)
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
        *(f"- {told}" for told in statements(results)),
        "",
        points_table(name, _CAPTION, results).markdown(),
    ]
    write_text(folder / f"{name}.md", "\n".join(lines))
    write_text(folder / f"{name}.json", json.dumps(metrics(results), indent=1, sort_keys=True) + "\n")


def drawn(plot: Plot) -> Figure:
    """The figure of a plot."""
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
    for told in statements(results):
        console.print(told, soft_wrap=True, markup=False)
    console.print(f"Report: {report.resolve()}", soft_wrap=True)


def _cells_table(results: Sequence[CellResult]) -> Table:
    """What ran when, where and how long; the errors of failed cells in full."""
    rows = tuple((r.name, r.key, r.seconds, r.machine, r.error or "done") for r in results)
    return Table("cells", "Cells of the run.", ("Cell", "key", "seconds", "machine", "result"), rows)
