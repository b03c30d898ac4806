"""Compare trained runs with classical reconstruction: ``hspi-evaluate data.folder=FOLDER runs.gan=RUN``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from data_gen.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.configs.schema import Node

if TYPE_CHECKING:
    from data_gen.forward import HyperspectralForwardModel
    from hspi_learn.classical import Tuning
    from hspi_learn.data import ScanDataModule
    from hspi_learn.evaluation import Adversary, Judge, NoisePoint
    from hspi_learn.io.run_folder import RunFolder
    from hspi_learn.reconstructor import Reconstructor


@dataclass(frozen=True)
class EvaluateSettings:
    """Keys of ``conf/evaluate.yaml``."""

    data: Node
    runs: Mapping[str, str | None]
    classical: Node
    windows_kev: tuple[float, ...]
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
    threads: int
    run_dir: str


def evaluate(config: DictConfig) -> dict[str, float]:
    """Evaluate as the config says; returns what ``metrics.json`` holds.

    Args:
        config: see ``conf/evaluate.yaml``.

    Raises:
        UserError: the config, the data or a run is not what it needs to be.
    """
    import torch

    from hspi_learn.configs.build import build
    from hspi_learn.evaluation import Evaluation, Judge, Study, print_result
    from hspi_learn.io.run_folder import RunFolder

    folder = RunFolder.fresh(config.run_dir)
    torch.set_num_threads(config.threads)
    runs = _runs(config)
    data: ScanDataModule = build(config.data, key="data", windows_kev=_windows(config, runs))
    _check_systems(data, runs)
    model = next((run.model for run in runs.values()), None) or data.system.forward_model(data.windows)
    judge, tunings = Judge.of(model), _tuned(config, model, data)
    methods = _methods(runs, tunings, model, data)
    study = Study(model, judge, methods, _adversaries(config), config.attacked_scans, seed=config.seed)
    outcome = study.run(_watched(data.test_dataloader(), "test scans"))
    noise = _noise(config, model, judge, methods[1.0], data)
    evaluation = Evaluation(model, judge, outcome, noise, tunings, data.scans("test"), _threat(config))
    _describe(folder, config, data)
    numbers = evaluation.write(folder.path)
    folder.write_metrics(numbers)
    statements = evaluation.statements(numbers)
    print_result(evaluation.tables(numbers)[0], statements, folder.path / "report.html")
    return numbers


def _runs(config: DictConfig) -> dict[str, Any]:
    """The trained runs by name; a name without a folder is left out."""
    from hspi_learn.configs.runs import load_task

    return {str(name): load_task(folder) for name, folder in config.runs.items() if folder is not None}


def _windows(config: DictConfig, runs: Mapping[str, Any]) -> tuple[float, ...]:
    """The energy windows that every method is given: those of the runs, or the config's without runs."""
    found = {name: run.model.energy_bins.boundaries_kev for name, run in runs.items()}
    if len(set(found.values())) > 1:
        raise UserError(
            f"runs were trained on different windows ({found}); evaluate those with the same together"
        )
    return next(iter(found.values()), tuple(config.windows_kev))


def _check_systems(data: ScanDataModule, runs: Mapping[str, Any]) -> None:
    """Refuse a run that was trained for another camera, nuclide or grid."""
    for name, run in runs.items():
        if run.system.fingerprint != data.system.fingerprint:
            mine, theirs = data.system.to_dict(), run.system.to_dict()
            odd = ", ".join(key for key in mine if mine[key] != theirs[key])
            raise UserError(
                f"runs.{name} was trained for another imaging system than {data.folder} was made with "
                f"(they differ in {odd}); it needs data of its own system"
            )


def _tuned(config: DictConfig, model: HyperspectralForwardModel, data: ScanDataModule) -> dict[float, Tuning]:
    """OSEM at the best iterations and filter for each count level, told from validation scans."""
    from itertools import islice

    from hspi_learn.classical import tune
    from hspi_learn.configs.build import build
    from hspi_learn.evaluation import Case, JudgedError

    osem = build(config.classical, key="classical", model=model)
    batches = -(-config.tuning_scans // data.batch_size)
    tunings = {}
    for fraction in sorted({1.0, *config.count_fractions}, reverse=True):
        scans = islice(data.val_dataloader(), batches)
        thinned = (Case.of(model, scan).thinned(fraction, config.seed).scans for scan in scans)
        tunings[fraction] = tune(
            osem,
            _watched(thinned, f"tuning at {fraction:g} of the counts"),
            JudgedError(model),
            config.tuning_iterations,
            config.tuning_postfilters_fwhm_mm,
        )
    return tunings


def _methods(
    runs: Mapping[str, Any],
    tunings: Mapping[float, Tuning],
    model: HyperspectralForwardModel,
    data: ScanDataModule,
) -> dict[float, dict[str, Reconstructor]]:
    """What is compared at each count level."""
    from hspi_learn.classical import MeanImage

    mean_image = MeanImage.of(model, data.train_dataloader())
    return {f: {**runs, "osem": tuning.osem, "mean_image": mean_image} for f, tuning in tunings.items()}


def _adversaries(config: DictConfig) -> dict[str, Adversary]:
    """The attacks by name; a name without an attack is left out."""
    from hspi_learn.configs.build import build
    from hspi_learn.evaluation import Adversary

    ball = build(config.threat_model, key="threat_model")
    return {
        str(name): Adversary(build(node, key=f"attacks.{name}"), ball)
        for name, node in config.attacks.items()
        if node is not None
    }


def _threat(config: DictConfig) -> str:
    """What the attacks are allowed, in words."""
    ball = {str(key): value for key, value in config.threat_model.items()}
    kind = str(ball.pop("_target_")).rpartition(".")[2]
    settings = ", ".join(f"{key} {value:g}" for key, value in ball.items())
    steps = "; ".join(
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in node.items() if key != "_target_")
        for name, node in config.attacks.items()
        if node is not None
    )
    return f"{kind} of {settings} in standard deviations of the counts, raising the NRMSE; {steps}"


def _noise(
    config: DictConfig,
    model: HyperspectralForwardModel,
    judge: Judge,
    methods: Mapping[str, Reconstructor],
    data: ScanDataModule,
) -> dict[str, list[NoisePoint]]:
    """Repeated noise on the first test mouse with a tumour; OSEM at other iterations too."""
    from hspi_learn.classical import Osem
    from hspi_learn.evaluation import Case, Setting, noise_study

    if config.noise_realisations == 0:
        return {}
    settings = {name: [Setting("", method)] for name, method in methods.items() if name != "mean_image"}
    osem = methods["osem"]
    assert isinstance(osem, Osem)
    settings["osem"] = [
        Setting(str(n), osem.with_settings(n, osem.postfilter_fwhm_mm), n == osem.iterations)
        for n in sorted({*config.noise_iterations, osem.iterations})
    ]
    case = Case.of(model, judge.first_with_tumour(data.windowed("test")))
    return noise_study(model, judge, settings, case, config.noise_realisations, config.seed)


def _describe(folder: RunFolder, config: DictConfig, data: ScanDataModule) -> None:
    """Write down what was evaluated: config, system, versions, hashes of data and runs."""
    from pathlib import Path

    from data_gen.storage import MANIFEST
    from data_gen.storage.files import sha256_of
    from hspi_learn.io.environment import environment
    from hspi_learn.io.run_folder import RunFolder

    files = [data.folder / MANIFEST]
    files += [RunFolder(Path(run)).weights_file for run in config.runs.values() if run is not None]
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    folder.describe(
        {str(key): value for key, value in plain.items()},
        data.system.to_dict(),
        environment(config.seed, config.threads, {str(file): sha256_of(file) for file in files}),
    )


def _watched(items: Any, title: str) -> Any:
    """The items, with a progress bar where a person looks on."""
    import sys

    from rich.progress import track

    return track(items, description=title) if sys.stdout.isatty() else items


def main() -> None:
    """The command line."""
    run_command("evaluate", evaluate, EvaluateSettings)
