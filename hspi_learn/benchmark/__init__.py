"""Benchmarks: a suite is a set of cells, each stored on disk, each giving points held to tolerances."""

from data_gen.validation.keys import cell_key
from data_gen.validation.point import Findings, Plot, Point
from hspi_learn.benchmark.command_cells import LinkedCells, command_cell, command_module
from hspi_learn.benchmark.engine import Cell, CellResult, CellStore, chosen, run_cells, status
from hspi_learn.benchmark.imaging import imaging_figures
from hspi_learn.benchmark.report import metrics, print_output, write_output, write_results

__all__ = [
    "Cell",
    "CellResult",
    "CellStore",
    "Findings",
    "LinkedCells",
    "Plot",
    "Point",
    "cell_key",
    "chosen",
    "command_cell",
    "command_module",
    "imaging_figures",
    "metrics",
    "print_output",
    "run_cells",
    "status",
    "write_output",
    "write_results",
]
