"""Progress of a suite: a bar on a terminal, a line for each cell in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import Progress as RichProgress
from rich.progress import TaskID

from hspi_learn.benchmark.cells import Progress
from hspi_learn.benchmark.store import CellResult


class PrintedLines:
    """A line when a cell ends."""

    def began(self, cell: str) -> None:
        """Nothing to say yet."""

    def ended(self, result: CellResult, is_new: bool) -> None:
        """Say what became of the cell."""
        print(told(result, is_new), flush=True)


@dataclass(frozen=True)
class Bar:
    """A bar over all cells, and a line above it when one ends."""

    bar: RichProgress
    task: TaskID

    def began(self, cell: str) -> None:
        """Name the cell that runs."""
        self.bar.update(self.task, description=cell)

    def ended(self, result: CellResult, is_new: bool) -> None:
        """Say what became of the cell, and go on."""
        self.bar.console.print(told(result, is_new), markup=False, highlight=False)
        self.bar.advance(self.task)


@contextmanager
def shown_progress(cells: int) -> Iterator[Progress]:
    """What tells of so many cells: a bar where somebody watches, lines elsewhere."""
    if not sys.stdout.isatty():
        yield PrintedLines()
        return
    with RichProgress() as bar:
        yield Bar(bar, bar.add_task("", total=cells))


def told(result: CellResult, is_new: bool) -> str:
    """One line on a cell."""
    if result.error:
        state = "failed" if is_new else "failed before (retry_failed=true runs it again)"
        return f"{result.name}: {state}: {result.error.splitlines()[0]}"
    judged = [point for point in result.points if point.limit is not None]
    held = sum(point.passed is True for point in judged)
    when = f"{result.seconds:.1f} s" if is_new else "done before"
    return f"{result.name}: {held} of {len(judged)} points within tolerance, {when}"
