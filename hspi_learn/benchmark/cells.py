"""Run the cells of a suite that no earlier run has finished; nothing here knows what a cell measures."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from data_gen.core.errors import UserError
from data_gen.validation.point import Found
from hspi_learn.benchmark.store import CellResult, CellStore


@dataclass(frozen=True)
class Cell:
    """A piece of a suite that runs on its own.

    Args:
        name: of the cell.
        key: hash of config, data and code; see :func:`data_gen.validation.keys.cell_key`.
        run: what it does.
    """

    name: str
    key: str
    run: Callable[[], Found]


class Progress(Protocol):
    """What is told while cells run."""

    def began(self, cell: str) -> None:
        """A cell starts."""

    def ended(self, result: CellResult, is_new: bool) -> None:
        """A cell is done, now or by an earlier run."""


def chosen(cells: Mapping[str, Any], names: Sequence[str] | None) -> list[str]:
    """Names of the cells to run, in the suite's order; None chooses all that are not switched off.

    Raises:
        UserError: the suite has no such cell.
    """
    present = [name for name, node in cells.items() if node is not None]
    for name in names or ():
        if name not in present:
            close = get_close_matches(name, present, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else f"it needs some of {', '.join(present)}"
            raise UserError(f"points names {name!r}, which the suite does not have; {hint}")
    return present if names is None else [name for name in present if name in names]


def run_cells(
    cells: Iterable[Cell], store: CellStore, progress: Progress, retry_failed: bool = False
) -> list[CellResult]:
    """Results of all cells: those on disk, and those that had to be run now, written as they end.

    Args:
        cells: run one after another, so that times can be measured.
        store: finished cells.
        progress: is told.
        retry_failed: run again what has failed before; otherwise its error stands.
    """
    results = []
    for cell in cells:
        progress.began(cell.name)
        result = store.read(cell.name, cell.key)
        is_new = result is None or bool(result.error and retry_failed)
        if result is None or is_new:
            result = _run(cell)
            store.write(result)
        progress.ended(result, is_new)
        results.append(result)
    return results


def _run(cell: Cell) -> CellResult:
    """The result of one cell; whatever goes wrong inside of it is its result too."""
    began, error, found = time.perf_counter(), "", Found(())
    try:
        found = cell.run()
    except UserError as mistake:
        error = str(mistake)
    except Exception as failure:  # one broken cell must not take the others with it
        error = f"{type(failure).__name__}: {failure}\n\n{traceback.format_exc()}"
    seconds = time.perf_counter() - began
    return CellResult(
        cell.name, cell.key, seconds, _machine(), tuple(found.points), tuple(found.plots), error
    )


def _machine() -> str:
    return f"{platform.machine()} {platform.processor() or platform.system()}".strip()
