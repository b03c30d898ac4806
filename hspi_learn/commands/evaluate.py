"""Compare trained runs with classical reconstruction: ``hspi-evaluate data.folder=FOLDER runs.gan=RUN``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig, OmegaConf

from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node

if TYPE_CHECKING:
    from hspi_learn.commands.comparison import Pool
    from hspi_learn.data import ScanDataModule
    from hspi_learn.evaluation import Evaluation
    from hspi_learn.io.run_folder import RunFolder


@dataclass(frozen=True)
class EvaluateSettings:
    """Keys of ``conf/evaluate.yaml``."""

    data: Node
    runs: Mapping[str, str | None]
    classical: Node
    windows_kev: tuple[float, ...] | Literal["lines"]
    count_fractions: tuple[float, ...]
    tuning_iterations: tuple[int, ...]
    tuning_postfilters_fwhm_mm: tuple[float, ...]
    tuning_scans: int
    threat_model: Node
    attacks: Mapping[str, Node | None]
    attacked_scans: int
    noise_realisations: int
    noise_iterations: tuple[int, ...]
    seed: int
    workers: int
    threads: int
    run_dir: str


def evaluate(config: DictConfig) -> dict[str, float]:
    """Evaluate as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/evaluate.yaml``.

    Raises:
        UserError: the config, the data or a run is not what it needs to be.
    """
    from hspi_learn.commands.comparison import pool
    from hspi_learn.evaluation import print_result
    from hspi_learn.io.run_folder import RunFolder

    folder = RunFolder.fresh(config.run_dir)
    with pool(config) as workers:
        evaluation = _compared(config, workers)
        _describe(folder, config, workers.comparison.data)
    numbers = evaluation.write(folder.path)
    folder.write_metrics(numbers)
    print_result(evaluation.tables(numbers)[0], evaluation.statements(numbers), folder.path / "report.html")
    return numbers


def _compared(config: DictConfig, workers: Pool) -> Evaluation:
    """Tune, compare all methods on all test scans, and repeat the noise."""
    from hspi_learn.evaluation import Evaluation, Outcome

    here = workers.comparison
    fractions = sorted({1.0, *config.count_fractions}, reverse=True)
    found = workers.map("tuning OSEM", [("tuned", (fraction,)) for fraction in fractions])
    tunings, mean_activity = dict(zip(fractions, found, strict=True)), here.mean_activity()
    batches = here.batches("test")
    methods = list(here.methods(tunings[1.0])) if config.noise_realisations else []
    # In one go, since the first batches, attacked, take longest: noise goes on beside them.
    found = workers.map(
        "test scans and noise",
        [("outcome", (tunings, mean_activity, numbers)) for numbers in batches]
        + [("noise", (tunings[1.0], method)) for method in reversed(methods)],
    )
    outcome = Outcome.joined(found[: len(batches)])
    points = dict(zip(methods, reversed(found[len(batches) :]), strict=True))
    scans = here.data.scans("test")
    return Evaluation(here.model, here.judge, outcome, points, tunings, scans, _threat(config))


def _threat(config: DictConfig) -> str:
    """What the attacks are allowed, in words."""
    ball = {str(key): value for key, value in config.threat_model.items()}
    kind = str(ball.pop("_target_")).rpartition(".")[2]
    settings = ", ".join(f"{key} {value:g}" for key, value in ball.items())
    attacks = "; ".join(
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in node.items() if key != "_target_")
        for name, node in config.attacks.items()
        if node is not None
    )
    return f"{kind} of {settings} in standard deviations of the counts, raising the NRMSE; {attacks}"


def _describe(folder: RunFolder, config: DictConfig, data: ScanDataModule) -> None:
    """Write down what was evaluated: config, system, versions, hashes of data and runs."""
    from data_gen.storage import MANIFEST
    from data_gen.storage.files import sha256_of
    from hspi_learn.configs.runs import record_windows
    from hspi_learn.io.environment import environment
    from hspi_learn.io.run_folder import RunFolder

    files = [data.folder / MANIFEST]
    files += [RunFolder(Path(run)).weights_file for run in config.runs.values() if run is not None]
    record_windows(config, data)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    folder.describe(
        {str(key): value for key, value in plain.items()},
        data.system.to_dict(),
        environment(config.seed, config.threads, {str(file): sha256_of(file) for file in files}),
    )


def main() -> None:
    """The command line."""
    run_command("evaluate", evaluate, EvaluateSettings)


if __name__ == "__main__":
    main()
