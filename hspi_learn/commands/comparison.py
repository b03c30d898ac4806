"""The parts of an evaluation that processes share: each builds what it needs from the config and keeps it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from multiprocessing import get_context
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.memory import keep_freed_memory
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import MeanImage, Osem, tune
from hspi_learn.configs.build import build
from hspi_learn.configs.runs import load_task
from hspi_learn.data import ScanDataModule, collate
from hspi_learn.evaluation import (
    Adversary,
    Case,
    Judge,
    JudgedError,
    NoisePoint,
    Outcome,
    Study,
    Sweep,
    Tuned,
    noise_study,
)
from hspi_learn.reconstructor import Reconstructor, ScanBatch


class Comparison:
    """Runs, data and model of an evaluation.

    Args:
        config: see ``conf/evaluate.yaml``.

    Raises:
        UserError: a run does not fit the data or the other runs.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        torch.set_num_threads(config.threads)
        folders = {str(name): folder for name, folder in config.runs.items() if folder is not None}
        self.runs: dict[str, Any] = {name: load_task(folder) for name, folder in folders.items()}
        self.data: ScanDataModule = build(config.data, key="data", windows_kev=self._windows())
        for name, run in self.runs.items():
            self._check_system(name, run)
        trained: list[HyperspectralForwardModel] = [run.model for run in self.runs.values()]
        self.model = trained[0] if trained else self.data.system.forward_model(self.data.windows)
        self.judge = Judge.of(self.model)

    def _windows(self) -> Windows:
        """The windows that every method is given: those of the runs, or the config's without runs."""
        found = {name: run.model.energy_bins.boundaries_kev for name, run in self.runs.items()}
        if len(set(found.values())) > 1:
            raise UserError(f"runs were trained on different windows ({found}); compare those of the same")
        if found:
            return next(iter(found.values()))
        return "lines" if self.config.windows_kev == "lines" else tuple(self.config.windows_kev)

    def _check_system(self, name: str, run: Any) -> None:
        """Refuse a run that was trained for another camera, nuclide or grid."""
        mine, theirs = self.data.system.to_dict(), run.system.to_dict()
        odd = ", ".join(key for key in mine if mine[key] != theirs[key])
        if odd:
            raise UserError(
                f"runs.{name} was trained for another imaging system than {self.data.folder} was made with "
                f"(they differ in {odd}); it needs data of its own system"
            )

    @cached_property
    def osem(self) -> Osem:
        """The classical method before tuning."""
        osem: Osem = build(self.config.classical, key="classical", model=self.model)
        return osem

    @cached_property
    def adversaries(self) -> dict[str, Adversary]:
        """The attacks by name; a name without an attack is left out."""
        ball = build(self.config.threat_model, key="threat_model")
        nodes = {str(name): node for name, node in self.config.attacks.items() if node is not None}
        return {name: Adversary(build(node, key=f"attacks.{name}"), ball) for name, node in nodes.items()}

    def batches(self, split: str, most: int | None = None) -> list[range]:
        """Numbers of the scans of each batch of a split, of the first ``most`` scans at most."""
        scans = len(self.data.scans(split)) if most is None else min(most, len(self.data.scans(split)))
        size = self.data.batch_size
        return [range(first, min(first + size, scans)) for first in range(0, scans, size)]

    def scans(self, split: str, numbers: Iterable[int]) -> ScanBatch:
        """Scans of a split as a batch."""
        return collate([self.data.windowed(split)[i] for i in numbers])

    def mean_activity(self) -> Tensor:
        """The mean image of the training mice, [map, z, y, x]."""
        training = (self.scans("train", numbers) for numbers in self.batches("train"))
        return MeanImage.of(self.model, training).mean_activity

    def tuned(self, fraction: float) -> Tuned:
        """OSEM at the best iterations and filter for a count level, told from validation scans."""
        config = self.config
        cases = (
            Case.of(self.model, self.scans("validation", numbers)).thinned(fraction, config.seed)
            for numbers in self.batches("validation", config.tuning_scans)
        )
        found = tune(
            self.osem,
            (case.scans for case in cases),
            JudgedError(self.model),
            config.tuning_iterations,
            config.tuning_postfilters_fwhm_mm,
        )
        best = found.osem
        return Tuned(best.iterations, len(best.subsets), best.postfilter_fwhm_mm, found.at_edge)

    def methods(self, tuned: Tuned) -> dict[str, Reconstructor]:
        """What is compared, but for the mean image."""
        return {**self.runs, "osem": self.osem.with_settings(tuned.iterations, tuned.postfilter_fwhm_mm)}

    def outcome(self, tunings: Mapping[float, Tuned], mean_activity: Tensor, numbers: range) -> Outcome:
        """Every method under every condition on some test scans."""
        mean_image = MeanImage(self.model, mean_activity)
        methods = {f: {**self.methods(tuned), "mean_image": mean_image} for f, tuned in tunings.items()}
        config = self.config
        study = Study(
            self.model, self.judge, methods, self.adversaries, config.attacked_scans, seed=config.seed
        )
        return study.run_batch(self.scans("test", numbers))

    def noise(self, tuned: Tuned, method: str) -> list[NoisePoint]:
        """Repeated noise on the first test mouse with a tumour; OSEM at other iterations too."""
        chosen = self.methods(tuned)[method]
        sweep = Sweep.of(chosen)
        if isinstance(chosen, Osem):
            sweep = Sweep.of_iterations(chosen, self.config.noise_iterations)
        case = Case.of(self.model, self.judge.first_with_tumour(self.data.windowed("test")))
        draws, seed = self.config.noise_realisations, self.config.seed
        return noise_study(self.model, self.judge, {method: sweep}, case, draws, seed)[method]


Task = tuple[str, tuple[Any, ...]]
"""Name of a method of :class:`Comparison`, and its arguments."""

_here: Comparison | None = None


def _start(config: dict[str, Any]) -> None:
    """Build the comparison of this process, which keeps the memory that it frees."""
    global _here
    keep_freed_memory()
    _here = Comparison(OmegaConf.create(config))


def _call(task: Task) -> Any:
    assert _here is not None
    name, arguments = task
    return getattr(_here, name)(*arguments)


def _packed(task: Task) -> bytes:
    """The result as bytes: tensors would travel as open files, of which a process may have few."""
    return pickle.dumps(_call(task))


class Pool:
    """Calls methods of a :class:`Comparison`, here or in several processes, results in order."""

    def __init__(self, comparison: Comparison, run: Callable[..., Iterable[Any]], watched: bool) -> None:
        self.comparison, self._run, self._watched = comparison, run, watched

    def map(self, title: str, tasks: Sequence[Task]) -> list[Any]:
        """``comparison.name(*arguments)`` for each task (name, arguments), begun in this order."""
        results = self._run(_call, tasks)
        return list(track(results, title, total=len(tasks)) if self._watched else results)


@contextmanager
def pool(config: DictConfig) -> Iterator[Pool]:
    """A pool of ``config.workers`` processes; 0 or 1 works in this one."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    _start(plain)
    assert _here is not None
    if config.workers < 2:
        yield Pool(_here, map, sys.stdout.isatty())
        return
    # Forked processes would inherit locks of threads that they lack.
    with ProcessPoolExecutor(config.workers, get_context("spawn"), _start, (plain,)) as processes:
        yield Pool(_here, partial(_unpacked, processes), sys.stdout.isatty())


def _unpacked(processes: Executor, _: Callable[..., Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Results of the tasks, in order, as they come."""
    return map(pickle.loads, processes.map(_packed, tasks))
