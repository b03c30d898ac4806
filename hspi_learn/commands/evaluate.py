"""Evaluate trained runs on unseen scans: ``hspi-evaluate data.folder=FOLDER runs.gan=RUN``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig, OmegaConf

from hspi_learn.commands.entry import run_command
from hspi_learn.commands.summarise import summarise_sweep
from hspi_learn.configs.schema import Node, Threads

if TYPE_CHECKING:
    from hspi_learn.data import ScanDataModule
    from hspi_learn.io.run_folder import RunFolder


@dataclass(frozen=True)
class EvaluateSettings:
    """Keys of ``conf/evaluate.yaml``."""

    data: Node
    runs: Mapping[str, str | None]
    windows_kev: tuple[float, ...] | Literal["lines"]
    protocol_without_runs: str
    protocols: Mapping[str, Node | None]
    count_fractions: tuple[float, ...]
    threat_model: Node
    attacks: Mapping[str, Node | None]
    objective: Node
    objectives: Mapping[str, Node | None]
    attacked_scans: int
    seed: int
    workers: int
    threads: Threads
    run_dir: str
    logger: Node | None = None


def evaluate(config: DictConfig) -> dict[str, float]:
    """Evaluate as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/evaluate.yaml``.

    Raises:
        UserError: the config, the data or a run is not what it needs to be.
    """
    from hspi_learn.commands.comparison import pool
    from hspi_learn.configs.build import build
    from hspi_learn.dashboards import log_results
    from hspi_learn.evaluation import print_result
    from hspi_learn.io.run_folder import RunFolder

    folder = RunFolder.fresh(config.run_dir)
    with pool(config) as workers:
        report = workers.comparison.protocol.evaluate(workers.map)
        _describe(folder, config, workers.comparison.data)
    numbers = report.write(folder.path)
    folder.write_metrics(numbers)
    print_result(report.tables(numbers)[0], report.statements(numbers), folder.path / "report.html")
    dashboard = partial(build, config.logger, key="logger", folder=folder) if config.get("logger") else None
    log_results(folder, dashboard)
    return numbers


def _describe(folder: RunFolder, config: DictConfig, data: ScanDataModule) -> None:
    """Write down what was evaluated: config, system, versions, hashes of data and runs."""
    from data_gen.core.files import sha256_of
    from data_gen.storage import MANIFEST
    from hspi_learn.configs.packages import packages_used
    from hspi_learn.configs.runs import record_windows
    from hspi_learn.dashboards import run_links
    from hspi_learn.io.environment import environment
    from hspi_learn.io.run_folder import RunFolder, read_config

    runs = {str(name): RunFolder(Path(run)) for name, run in config.runs.items() if run is not None}
    files = [data.folder / MANIFEST, *(run.weights_file for run in runs.values())]
    record_windows(config, data)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items()}
    packages = packages_used(settings, *(read_config(run.path) for run in runs.values()))
    hashes = {str(file): sha256_of(file) for file in files}
    links = {name: run_links(run) for name, run in runs.items()}
    about = environment(config.seed, config.threads, hashes, packages, trained=links)
    folder.describe(settings, data.system.to_dict(), about)


def main() -> None:
    """The command line."""
    run_command("evaluate", evaluate, EvaluateSettings, after_sweep=summarise_sweep)


if __name__ == "__main__":
    main()
