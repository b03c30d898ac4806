"""The cells of a suite: run once, stored on disk, failures recorded.

A cell is one function call of a suite. Its result is a JSON file named by the cell's key, a hash of config,
data and code (see :mod:`data_gen.validation.keys`), so an interrupted suite goes on where it stopped and
several runs may share one folder. ``joblib.Memory`` stores results too, but its key follows the code of one
function only, not the code that it calls, and it records no failures.
"""

from __future__ import annotations

import logging
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from data_gen.core.errors import UserError
from data_gen.validation.point import Findings, Plot, Point
from hspi_learn.io.atomic import write_text

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """A part of a suite that runs by itself.

    Args:
        name: name of the cell.
        key: hash of config, data and code; see :func:`data_gen.validation.keys.cell_key`.
        run: the computation.
    """

    name: str
    key: str
    run: Callable[[], Findings]


@with_config(ConfigDict(ser_json_inf_nan="strings", extra="forbid"))
@dataclass(frozen=True)
class CellResult:
    """The result of a cell, or its failure.

    Args:
        name: name of the cell.
        key: hash of config, data and code.
        seconds: that it took.
        machine: that it ran on.
        points: figures with their tolerances.
        plots: plots with their data.
        headlines: numbers that stand under these very names.
        error: message, and traceback after a blank line; "" if it did not fail.
    """

    name: str
    key: str
    seconds: float
    machine: str
    points: tuple[Point, ...] = ()
    plots: tuple[Plot, ...] = ()
    headlines: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


_JSON = TypeAdapter(CellResult)


@dataclass(frozen=True)
class CellStore:
    """A folder of results, one file ``NAME-KEY.json`` each; several runs may share it."""

    folder: Path

    def path(self, name: str, key: str) -> Path:
        """The file of a result."""
        return self.folder / f"{name}-{key}.json"

    def write(self, result: CellResult) -> None:
        """Store a result, whole or not at all."""
        write_text(self.path(result.name, result.key), _JSON.dump_json(result, indent=1).decode() + "\n")

    def read(self, name: str, key: str) -> CellResult | None:
        """The result of a cell, None if there is none; a damaged file counts as none."""
        path = self.path(name, key)
        if not path.is_file():
            return None
        try:
            return _JSON.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            _LOG.warning("%s cannot be read (%s); the cell runs again", path, str(error).splitlines()[0])
            return None


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
    cells: Iterable[Cell], store: CellStore, retry_failed: bool = False
) -> Iterator[tuple[CellResult, bool]]:
    """Results of all cells in turn, and whether each was computed now rather than read from disk.

    Args:
        cells: run one after another, so that times can be measured.
        store: results of earlier runs; new ones are written as they are computed.
        retry_failed: run again what has failed before; otherwise its error stands.
    """
    for cell in cells:
        result = store.read(cell.name, cell.key)
        is_new = result is None or bool(result.error and retry_failed)
        if result is None or is_new:
            result = _run(cell)
            store.write(result)
        yield result, is_new


def status(result: CellResult, is_new: bool) -> str:
    """One line on what became of a cell."""
    if result.error:
        state = "failed" if is_new else "failed before (retry_failed=true runs it again)"
        return f"{result.name}: {state}: {result.error.splitlines()[0]}"
    judged = [point for point in result.points if point.limit is not None]
    passed = sum(point.passed is True for point in judged)
    when = f"{result.seconds:.1f} s" if is_new else "done before"
    return f"{result.name}: {passed} of {len(judged)} points within tolerance, {when}"


def _run(cell: Cell) -> CellResult:
    """The result of one cell; whatever goes wrong inside of it is its result too."""
    began, error, findings = time.perf_counter(), "", Findings(())
    try:
        findings = cell.run()
    except UserError as mistake:
        error = str(mistake)
    except Exception as failure:  # one broken cell must not take the others with it
        error = f"{type(failure).__name__}: {failure}\n\n{traceback.format_exc()}"
    seconds = time.perf_counter() - began
    points, plots = tuple(findings.points), tuple(findings.plots)
    return CellResult(cell.name, cell.key, seconds, _machine(), points, plots, findings.headlines, error)


def _machine() -> str:
    return f"{platform.machine()} {platform.processor() or platform.system()}".strip()
