"""Many runs in one table: means of metrics by setting, and their spread over random seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from data_gen.core.errors import UserError
from hspi_learn.evaluation.tables import Cell, Table
from hspi_learn.io.atomic import write_text
from hspi_learn.io.run_folder import RunFolder, flat_config, read_config
from hspi_learn.metrics import mean_interval

ABSENT = "-"
"""What stands for a setting that a run does not have."""


@dataclass(frozen=True)
class Run:
    """A run folder as it was found.

    Args:
        folder: folder of the run.
        settings: its resolved config by dotted name, without its folder and its dashboard, which change no
            result. An evaluation has the settings of each training in place of the training's folder.
        metrics: resulting metrics by name.
        problem: why it counts for nothing, in words; "" for a run that counts.
        repeated: whether another run with the same settings and seed counts.
    """

    folder: Path
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    problem: str = ""
    repeated: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is a training of its own that has no figures."""
        return bool(self.problem) and not self.repeated and bool(self.settings)


@dataclass(frozen=True)
class Interval:
    """A metric over n independent trainings: mean, standard deviation (n - 1), 95 % interval of the mean.

    ``missing`` counts trainings of the same setting that lack the figure, since they failed, for instance.
    """

    n: int
    missing: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def figures(self) -> tuple[float, float, float, float]:
        """Mean, SD, and the ends of the interval."""
        return self.mean, self.sd, self.low, self.high


@dataclass(frozen=True)
class Summary:
    """Runs and what they have in common.

    Args:
        runs: all runs that were asked for.
        differing: names of the settings, seeds aside, in which runs that count differ.
        rows: values of the differing settings, name of a metric, and its interval over seeds.
    """

    runs: Sequence[Run]
    differing: tuple[str, ...]
    rows: Sequence[tuple[tuple[str, ...], str, Interval]]

    def table(self) -> Table:
        """Mean, SD and interval of each metric by setting, settings in one column."""
        rows: list[tuple[Cell, ...]] = []
        for values, metric, found in self.rows:
            named = zip(self.differing, values, strict=True)
            told = ", ".join(f"{name}={value}" for name, value in named) or "all"
            rows.append((told, metric, str(found.n), str(found.missing), *found.figures))
        caption = (
            "Mean, standard deviation (SD) and 95 % interval of the mean (Student's t) over n trainings that "
            "differ in their seed alone. Missing: trainings of the same setting without the figure, since "
            "they failed or are not finished; the mean of the others says nothing of them."
        )
        columns = ("Settings", "metric", "n", "missing", "mean", "SD", "low", "high")
        return Table("summary", caption, columns, tuple(rows))

    def full_table(self) -> Table:
        """Mean, SD and interval of each metric by setting, with a column for each setting, for CSV."""
        rows: list[tuple[Cell, ...]] = [
            (*values, metric, float(found.n), float(found.missing), *found.figures)
            for values, metric, found in self.rows
        ]
        columns = (*self.differing, "metric", "n", "missing", "mean", "sd", "low", "high")
        return Table("summary", "", columns, tuple(rows))

    def runs_table(self) -> Table:
        """A row for each run, those that do not count with the reason, and a column for each metric."""
        metrics = list(dict.fromkeys(name for run in self.runs for name in run.metrics))
        rows: list[tuple[Cell, ...]] = [
            (
                str(run.folder),
                run.problem or "counts",
                *(shown_setting(run, name) for name in self.differing),
                *(run.metrics.get(name, math.nan) for name in metrics),
            )
            for run in self.runs
        ]
        return Table("runs", "", ("folder", "result", *self.differing, *metrics), tuple(rows))

    def statements(self) -> list[str]:
        """Which runs do not count, and why."""
        return [f"Left out: {run.folder} {run.problem}." for run in self.runs if run.problem]

    def write(self, folder: Path) -> None:
        """Write ``summary.csv``, ``summary.md`` and ``runs.csv``."""
        write_text(folder / "summary.csv", self.full_table().csv())
        left_out = "".join(f"\n{told}\n" for told in self.statements())
        write_text(folder / "summary.md", self.table().markdown() + left_out)
        write_text(folder / "runs.csv", self.runs_table().csv())


def summarise_runs(folders: Iterable[Path], metrics: Sequence[str] | None = None) -> Summary:
    """The summary of run folders.

    Args:
        folders: of runs, in any state.
        metrics: names or patterns of those to show; None for all.
    """
    runs = _without_repeats([read_run(folder) for folder in folders])
    counted = [run for run in runs if not run.problem]
    names = dict.fromkeys(name for run in counted for name in run.settings)
    differing = tuple(
        name for name in names if not is_seed(name) and len({shown_setting(run, name) for run in counted}) > 1
    )
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in counted:
        groups.setdefault(tuple(shown_setting(run, name) for name in differing), []).append(run)
    failed = Counter(tuple(shown_setting(run, name) for name in differing) for run in runs if run.failed)
    rows = [
        (
            values,
            metric,
            interval([r.metrics[metric] for r in group if metric in r.metrics], len(group) + failed[values]),
        )
        for values, group in groups.items()
        for metric in dict.fromkeys(name for run in group for name in run.metrics)
        if metrics is None or any(fnmatchcase(metric, pattern) for pattern in metrics)
    ]
    return Summary(runs, differing, rows)


def read_run(folder: Path) -> Run:
    """A run folder; one that is not finished, or has a metric that is no number, says so itself."""
    found = RunFolder(folder)
    settings: dict[str, Any] = {}
    if not found.config_file.is_file():
        return Run(folder, {}, {}, "was not started: it holds no config.yaml")
    try:
        settings = settings_of(read_config(folder))
        if not found.metrics_file.is_file():
            return Run(folder, settings, {}, "failed or is not finished: it holds no metrics.json")
        metrics = found.metrics()
    except (UserError, TypeError, ValueError) as error:
        return Run(folder, settings, {}, f"is damaged: {error}")
    odd = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    return Run(folder, settings, metrics, f"failed: {odd[0]}" if odd else "")


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a result depends on, by dotted name; see :class:`Run`."""
    kept = {name: value for name, value in config.items() if name not in ("logger", "run_dir", "runs")}
    flat = flat_config(kept)
    for name, folder in (config.get("runs") or {}).items():
        trained = isinstance(folder, str) and RunFolder(Path(folder)).config_file.is_file()
        part = settings_of(read_config(folder)) if trained else {"folder": folder}
        flat |= {f"runs.{name}.{key}": value for key, value in part.items()}
    return flat


def is_seed(name: str) -> bool:
    """Whether a setting is a seed: ``seed``, ``task.seed``."""
    return name.rpartition(".")[2] == "seed"


def shown_setting(run: Run, name: str) -> str:
    """The value of a setting as text."""
    return str(run.settings[name]) if name in run.settings else ABSENT


def interval(values: Sequence[float], trainings: int | None = None) -> Interval:
    """Mean, standard deviation and 95 % interval of the mean by Student's t; one value has a mean alone.

    Args:
        values: of the trainings that have the figure.
        trainings: number of all trainings of the setting; None: those with the figure.
    """
    n = len(values)
    found = mean_interval(torch.tensor(values, dtype=torch.float64))
    sd = float(torch.tensor(values, dtype=torch.float64).std()) if n > 1 else math.nan
    return Interval(n, (n if trainings is None else trainings) - n, found.value, sd, found.low, found.high)


def _without_repeats(runs: Sequence[Run]) -> list[Run]:
    """The same runs; of those with the same settings and the same seed only the last counts."""
    last = {_identity(run): run for run in runs if not run.problem}
    return [_beside(run, last.get(_identity(run))) for run in runs]


def _beside(run: Run, counts: Run | None) -> Run:
    """The run as it stands beside the one with its settings and seed that counts, if there is one."""
    if counts is None or counts is run:
        return run
    told = run.problem or f"has settings and seed of {counts.folder}, which counts"
    return replace(run, problem=told, repeated=True)


def _identity(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in run.settings.items()))
