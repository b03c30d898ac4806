"""Run a suite of checks: ``hspi-benchmark suite=physics``.

A suite is a set of cells; each is a computation that gives points. A point is a figure, with the tolerance of
its deviation from a known truth where it has one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node, Threads

if TYPE_CHECKING:
    from hspi_learn.benchmark import Cell, CellStore, LinkedCells
    from hspi_learn.io.run_folder import RunFolder


@dataclass(frozen=True)
class BenchmarkSettings:
    """Keys of ``conf/benchmark.yaml``."""

    name: str
    title: str
    data: Mapping[str, str]
    cells: Mapping[str, Node | None]
    points: tuple[str, ...] | None
    retry_failed: bool
    cells_dir: str | None
    results: str | None
    threads: Threads
    run_dir: str
    logger: Node | None = None


def benchmark(config: DictConfig, resume: bool = False) -> dict[str, float]:
    """Run a suite as the config says.

    A missed point or a failed cell is a result, not an error.

    Args:
        config: see ``conf/benchmark.yaml``; its ``points`` name the cells to run, None for all.
        resume: continue the run in ``run_dir``; finished cells are not run again.

    Returns:
        What ``metrics.json`` holds: ``CELL/POINT/value``, and where it has a tolerance ``.../limit`` and
        ``.../pass`` (0 or 1); ``suite/points`` and ``suite/passed``, their numbers.

    Raises:
        UserError: the config or a data file is not what it needs to be, ``points`` names no cell of the
            suite, ``results`` holds a page of something else, or a resumed run would write out of its folder.
    """
    import torch
    from rich.progress import track

    from hspi_learn.benchmark import CellStore, print_output, run_cells, status, write_output
    from hspi_learn.configs.build import build
    from hspi_learn.dashboards import log_results
    from hspi_learn.io.run_folder import RunFolder

    torch.set_num_threads(config.threads)
    _check_results(config)
    if resume:
        _check_folders(config)
    cells = _cells(config)
    folder = RunFolder.existing(config.run_dir) if resume else RunFolder.fresh(config.run_dir)
    if not resume:
        _describe(folder, config)
    store = CellStore(_cells_folder(config))
    steps = run_cells(cells, store, config.retry_failed)
    results = []
    for result, is_new in track(steps, config.name, len(cells), disable=not sys.stdout.isatty()):
        print(status(result, is_new), flush=True)
        results.append(result)
    facts = _facts(folder, config)
    numbers = write_output(folder.path, config.name, config.title, facts, results)
    folder.write_metrics(numbers)
    dashboard = partial(build, config.logger, key="logger", folder=folder) if config.get("logger") else None
    log_results(folder, dashboard)
    if config.results:
        from hspi_learn.benchmark import write_results

        write_results(Path(config.results), config.name, config.title, facts, results)
    print_output(results, folder.path / "report.html")
    return numbers


def _check_results(config: DictConfig) -> None:
    """Refuse to write results out of their folder, or over a page that is none of results."""
    if Path(config.name).name != config.name:
        raise UserError(f"name is {config.name}; it needs a plain name, which results=FOLDER makes files of")
    if config.results:
        page, numbers = (Path(config.results) / f"{config.name}.{kind}" for kind in ("md", "json"))
        if page.exists() and not numbers.is_file():
            raise UserError(
                f"results is {config.results}, where {page.name} is no page of results, without "
                f"{numbers.name}; choose another folder"
            )


def _check_folders(config: DictConfig) -> None:
    """Refuse to resume a run that writes elsewhere: its config may be that of a stranger."""
    run = Path(config.run_dir)
    cells = config.cells_dir or run / "cells"
    for key in ("cells_dir", "results"):
        folder = config[key]
        if folder and not Path(folder).resolve().is_relative_to(run.resolve()):
            raise UserError(
                f"{key} in {run}/config.yaml is {folder}, and a resumed run writes into its own folder only; "
                f"start a new run with {key}={folder}, and cells_dir={cells} for the cells that are finished"
            )


def _cells(config: DictConfig) -> list[Cell]:
    """The chosen cells of the suite with their keys."""
    from hspi_learn.benchmark import Cell, CellStore, LinkedCells, chosen
    from hspi_learn.configs.build import build

    nodes = {name: node for name, node in _plain(config.cells).items() if node is not None}
    linked = LinkedCells(nodes, _data_hashes(config), _cells_folder(config), _module)
    names = chosen(nodes, None if config.points is None else list(config.points))
    _check_order(linked, names, CellStore(_cells_folder(config)))
    return [
        Cell(name, linked.key(name), partial(build, linked.node(name), key=f"cells.{name}")) for name in names
    ]


def _check_order(linked: LinkedCells, names: Sequence[str], store: CellStore) -> None:
    """Refuse cells that look into folders of others which are neither finished nor made before them."""
    for place, name in enumerate(names):
        for other in linked.before(name):
            if other in names[:place]:
                continue
            found = store.read(other, linked.key(other))
            if found is None or found.error:
                raise UserError(
                    f"points holds {name}, which needs {other}, and that is not finished; "
                    f"name {other} before it"
                )


def _cells_folder(config: DictConfig) -> Path:
    """The folder of finished cells, and of data sets and runs that cells make."""
    return Path(config.cells_dir) if config.cells_dir else Path(config.run_dir) / "cells"


def _module(name: str, node: Mapping[str, Any]) -> str:
    """The module where the code of a cell starts."""
    from hspi_learn.benchmark import command_cell, command_module
    from hspi_learn.configs.targets import locate

    target = locate(node["_target_"], f"cells.{name}")
    return command_module(str(node.get("command"))) if target is command_cell else target.__module__


def _data_hashes(config: DictConfig) -> dict[str, str]:
    """Hash of every file that the suite says it reads."""
    from data_gen.core.files import sha256_of

    for name, file in config.data.items():
        if not Path(file).is_file():
            raise UserError(f"data.{name} is {file}, which is no file; it needs a file that the cells read")
    return {str(name): sha256_of(Path(file)) for name, file in config.data.items()}


def _describe(folder: RunFolder, config: DictConfig) -> None:
    """Write down what is run before it starts; the config comes last."""
    import yaml

    from hspi_learn.configs.packages import packages_used
    from hspi_learn.io.atomic import write_json, write_text
    from hspi_learn.io.environment import environment

    settings = _plain(config)
    about = environment(0, config.threads, _data_hashes(config), packages_used(settings))
    write_json(folder.environment_file, about)
    write_text(folder.config_file, yaml.safe_dump(settings, sort_keys=False))


def _facts(folder: RunFolder, config: DictConfig) -> dict[str, str]:
    """What was run on what, in words."""
    from hspi_learn.io.run_folder import read_json

    about = read_json(folder.environment_file)
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    return {
        "Suite": str(config.name),
        "Commit": str(about["commit"] or "no checkout"),
        "Machine": f"{about['platform']}, {config.threads} thread(s)",
        "Versions": f"Python {about['python']}, {versions}",
    }


def _plain(config: DictConfig) -> dict[str, Any]:
    data = OmegaConf.to_container(config, resolve=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def main() -> None:
    """The command line."""
    run_command("benchmark", benchmark, BenchmarkSettings, resume=partial(benchmark, resume=True))


if __name__ == "__main__":
    main()
