"""Benchmarks: a suite is a set of cells, each kept on disk, each giving points held to tolerances."""

from data_gen.validation.keys import cell_key
from data_gen.validation.point import Found, Plot, Point
from hspi_learn.benchmark.cells import Cell, Progress, chosen, run_cells
from hspi_learn.benchmark.output import print_output, write_output, write_results
from hspi_learn.benchmark.progress import shown_progress
from hspi_learn.benchmark.store import CellResult, CellStore
from hspi_learn.benchmark.tables import metrics

__all__ = [
    "Cell",
    "CellResult",
    "CellStore",
    "Found",
    "Plot",
    "Point",
    "Progress",
    "cell_key",
    "chosen",
    "metrics",
    "print_output",
    "run_cells",
    "shown_progress",
    "write_output",
    "write_results",
]
