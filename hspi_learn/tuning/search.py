"""The trials of a search, kept in an SQLite file that a stopped search goes on from.

Values are proposed by the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) as Optuna has it
(Akiba et al., KDD 2019). The proposal for trial n depends on the seed, n and what earlier trials found, and
on nothing that a stop could lose. A trial is pruned whose best value so far is worse than the median of
others at the same step (Golovin et al., KDD 2017).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
from optuna.trial import TrialState
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from data_gen.core.errors import UserError
from hspi_learn.tuning.space import OneOf, Range, read_space

FILE = "study.db"
"""In the folder of a search."""

STUDY = "search"
"""Name of the only study in the file."""

WARM_UP = 3
"""Trials that are finished before any is pruned; chosen, no source."""


class Pruned(Exception):  # noqa: N818 (it is no error)
    """A trial that is not worth going on with."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search does.

    Args:
        space: settings by dotted key of the config; see :func:`~hspi_learn.tuning.read_space`.
        trials: number of trials; the first is the config as it stands, where that is within the space.
        prune: whether trials that are worse than the median of others are given up.
        side_by_side: trials at once, each a process of its own. With more than one, what a proposal knows of
            others depends on which of them are finished.
        seed: random seed of the proposals.

    Raises:
        UserError: there is no trial, no process, or nothing to search.
    """

    space: Mapping[str, Any]
    trials: int = 12
    prune: bool = True
    side_by_side: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("trials", "side_by_side"):
            if getattr(self, name) < 1:
                raise UserError(f"search.{name} is {getattr(self, name)}; it needs at least 1")
        read_space(self.space)

    @property
    def settings(self) -> dict[str, OneOf | Range]:
        """What is searched, by key."""
        return read_space(self.space)


class TrialRecord(NamedTuple):
    """What is known of a trial."""

    number: int
    state: Literal["finished", "pruned", "failed", "running"]
    value: float
    """What it found; NaN unless it is finished."""
    settings: dict[str, Any]
    seconds: float
    """From its first start to its end; NaN before that."""
    told: str
    """Why it failed."""


_STATES: dict[TrialState, Literal["finished", "pruned", "failed", "running"]] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


class Place(NamedTuple):
    """Where a trial lies: what a process needs to know to tell how it goes."""

    folder: str
    """Of the search."""
    number: int
    prune: bool
    """Whether the trial may be given up."""

    def report(self, value: float, step: int) -> None:
        """Tell the value at a step, where trials may be given up.

        Raises:
            Pruned: the trial is not worth going on with.
        """
        if not self.prune:
            return
        with _opened(Path(self.folder)) as study:
            trial = optuna.Trial(study, study.trials[self.number]._trial_id)
            trial.report(value, step)
            if trial.should_prune():
                raise Pruned

    def finish(self, value: float) -> None:
        """Tell the value that the trial found."""
        with _opened(Path(self.folder)) as study:
            study.tell(self.number, value)

    def give_up(self, told: str = "") -> None:
        """The trial was pruned, or failed for a reason."""
        with _opened(Path(self.folder)) as study:
            if told:
                trial = study.trials[self.number]
                study._storage.set_trial_user_attr(trial._trial_id, "told", told)
            study.tell(self.number, state=TrialState.FAIL if told else TrialState.PRUNED)


class Search:
    """A search in a folder, begun or gone on with.

    Args:
        folder: of the search.
        plan: what it does.
        direction: whether the lowest (``min``) or the highest (``max``) value is best.
    """

    def __init__(self, folder: Path, plan: SearchPlan, direction: Literal["min", "max"]) -> None:
        self.folder, self.plan, self.settings = folder, plan, plan.settings
        self.direction = direction
        with _quiet():
            optuna.create_study(
                study_name=STUDY,
                storage=_storage(folder.resolve()),
                direction="minimize" if direction == "min" else "maximize",
                load_if_exists=True,
            )

    def propose(self, present: Mapping[str, Any]) -> tuple[Place, dict[str, Any]]:
        """A new trial and its settings.

        Args:
            present: values in the config as it stands; the first trial's, where they are within the space.
        """
        with _opened(self.folder) as study:
            number = len(study.trials)
            study.sampler = _sampler(self.plan, number)
            stored = {key: setting.stored(present[key]) for key, setting in self.settings.items()}
            if number == 0 and all(value is not None for value in stored.values()):
                study.enqueue_trial(stored)
            trial = study.ask()
            found = {key: setting.suggested(trial, key) for key, setting in self.settings.items()}
            return self.place(trial.number), found

    def place(self, number: int) -> Place:
        """Where a trial lies."""
        return Place(str(self.folder), number, self.plan.prune)

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials so far."""
        with _opened(self.folder) as study:
            return [self._record(trial) for trial in study.trials]

    def _record(self, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        settings = {key: s.read(trial.params[key]) for key, s in self.settings.items() if key in trial.params}
        value = (
            trial.value if trial.state == TrialState.COMPLETE and trial.value is not None else float("nan")
        )
        took = float("nan") if trial.duration is None else trial.duration.total_seconds()
        told = str(trial.user_attrs.get("told", ""))
        return TrialRecord(trial.number, _STATES[trial.state], value, settings, took, told)

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial of the best value, the first of equal ones; None before there is one."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        sign = 1 if self.direction == "min" else -1
        return min(finished, key=lambda trial: sign * trial.value, default=None)

    def at_edge(self, trial: TrialRecord) -> list[str]:
        """Settings of a trial that lie at the edge of what was searched."""
        return [key for key, setting in self.settings.items() if setting.at_edge(trial.settings[key])]


class ReportValidation(Callback):
    """Tells a search of each validation in a training, which ends it if it is not worth going on with.

    Args:
        place: of the trial.
        metric: the logged validation metric.
    """

    def __init__(self, place: Place, metric: str) -> None:
        self.place, self.metric = place, metric

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Tell the value of this validation.

        Raises:
            Pruned: the training is not worth going on with.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if fitting and self.metric in trainer.callback_metrics:
            self.place.report(float(trainer.callback_metrics[self.metric]), trainer.global_step)


@cache
def _storage(folder: Path) -> optuna.storages.RDBStorage:
    """The file of a search, opened once in each process."""
    return optuna.storages.RDBStorage(f"sqlite:///{folder / FILE}")


def _sampler(plan: SearchPlan, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one proposal, whose random numbers follow from the seed and the trial's number."""
    random = max(2, plan.trials // 3)
    return optuna.samplers.TPESampler(seed=plan.seed + number, n_startup_trials=random, constant_liar=True)


@contextmanager
def _opened(folder: Path) -> Iterator[optuna.Study]:
    """The study in a folder."""
    with _quiet():
        pruner = optuna.pruners.MedianPruner(n_startup_trials=WARM_UP)
        yield optuna.load_study(study_name=STUDY, storage=_storage(folder.resolve()), pruner=pruner)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of nothing but errors."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
