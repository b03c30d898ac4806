"""How denoisers are evaluated: beside counts, tuned Gaussian filters and reprojected reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_gen.core.cache import content_key
from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import PanelFilter, Tunable, tune, tuned_panel_filter
from hspi_learn.data import KeptTensors, ScanDataModule, fingerprint
from hspi_learn.evaluation.case import thinned_scans
from hspi_learn.evaluation.protocols import Calls, TaskScores
from hspi_learn.evaluation.study import FULL, Condition, Conditions, Method, Outcome
from hspi_learn.evaluation.tables import Cell, Table
from hspi_learn.evaluation.task_report import TaskReport
from hspi_learn.metrics import Interval, count_weighted, mean_interval, projection_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, scan_context
from hspi_learn.tasks import Denoising, Inputs, Task
from hspi_learn.tasks.physics_input import PhysicsInputs
from hspi_learn.visual import method_label

NOISY, GAUSSIAN, LINEAR = "noisy", "gaussian", "linear"
"""Counts as they are; smoothed by tuned Gaussians; the linear estimate that the first run corrects."""

SCORE = "projection_nrmse"


class DenoisingProtocol(TaskScores):
    """Denoisers beside counts as they are, tuned Gaussian filters, and reprojected reconstructions.

    A Gaussian filter has the width of least error in each window; a reconstruction the settings of least
    error of its projection through the forward model, both on validation scans and at each count level.
    ``linear`` is the estimate from principal components that the first run's network corrects.

    Args:
        runs: trained denoisers by name.
        data: validation scans for tuning, test scans.
        conditions: how the test scans are shown.
        reprojected: make the reconstruction methods that are projected for a forward model, by name.
        tuning: candidates of settings of each of them.
        fwhm_pixels: widths of the Gaussian filter that are tried in each window.
        tuning_scans: so many validation scans choose the settings.
        test_scans: the first so many test scans are judged; None: all.

    Raises:
        UserError: a run is no denoiser, two methods have one name, or one that is tuned is not there.
    """

    def __init__(
        self,
        runs: Mapping[str, Task],
        data: ScanDataModule,
        conditions: Conditions,
        reprojected: Mapping[str, Callable[[HyperspectralForwardModel], Tunable]],
        tuning: Mapping[str, Mapping[str, tuple[float, ...]]],
        fwhm_pixels: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0, 20.0),
        tuning_scans: int = 12,
        test_scans: int | None = None,
    ) -> None:
        super().__init__(runs, data, conditions)
        for name, run in runs.items():
            if not isinstance(run, Denoising):
                raise UserError(f"runs.{name} is a {type(run).__name__}; it needs the run of task=denoising")
            if name in (NOISY, GAUSSIAN, LINEAR, *reprojected):
                raise UserError(f"runs.{name} has the name of a baseline; choose another")
        for name in tuning:
            if name not in reprojected:
                raise UserError(f"tuning.{name} is none of the reprojected methods {list(reprojected)}")
        assert isinstance(self.task, Denoising)
        self.denoiser: Denoising = self.task
        for run in runs.values():
            assert isinstance(run, Denoising)
            run.truths.keep_beside(data.folder)
        self.reprojected, self.tuning = reprojected, tuning
        self.fwhm_pixels, self.tuning_scans, self.test_scans = fwhm_pixels, tuning_scans, test_scans
        self._tuned: dict[float, dict[str, Any]] = {}

    def evaluate(self, calls: Calls) -> DenoisingReport:
        """Tune the baselines, and compare all methods on the test scans."""
        fractions = self.conditions.count_fractions
        found = calls("tuning baselines", [("tuned", (fraction,)) for fraction in fractions])
        tuned = dict(zip(fractions, found, strict=True))
        batches = self.batches.of("test", self.test_scans)
        parts = calls("test scans", [("outcome_of", (tuned, numbers)) for numbers in batches])
        return DenoisingReport.of(
            self.reported(Outcome.joined(parts)), self.denoiser.window_names, tuned[1.0]
        )

    def outcome_of(self, tuned: Mapping[float, Mapping[str, Any]], numbers: range) -> Outcome:
        """Every method under every condition on some test scans."""
        self._tuned = {fraction: dict(settings) for fraction, settings in tuned.items()}
        return self.outcome(numbers)

    def methods(self, fraction: float) -> dict[str, Method]:
        """Baselines at their best settings for a count level, and the runs."""
        settings, task = self._tuned[fraction], self.denoiser
        smooth = PanelFilter(task.layout, task.live, settings[GAUSSIAN])
        found = {
            NOISY: Method(lambda inputs: task.live.to(inputs.values)[:, None] * inputs.values),
            GAUSSIAN: Method(lambda inputs: smooth(inputs.values), smooth),
            LINEAR: Method(lambda inputs: task.linear(inputs.values), task.first),
        }
        for name, method in self._made.items():
            best = method.with_settings(**settings[name])
            found[name] = Method(_Reprojected(best, task, self.data.folder), best)
        return {**found, **super().methods(fraction)}

    @cached_property
    def _made(self) -> dict[str, Tunable]:
        """The reconstruction methods before tuning."""
        made = {name: make(self.denoiser.model) for name, make in self.reprojected.items()}
        for name, method in made.items():
            if not isinstance(method, Tunable):
                raise UserError(f"reprojected.{name} is a {type(method).__name__}; it needs to be a Tunable")
        return made

    def tuned(self, fraction: float) -> dict[str, Any]:
        """Widths of the Gaussian filter, and settings of each reconstruction, told from validation scans."""
        task = self.denoiser
        scans = [
            thinned_scans(self.batches.scans("validation", numbers), fraction, self.conditions.seed)
            for numbers in self.batches.of("validation", self.tuning_scans)
        ]
        pairs = [(scan.projections, task.truths(scan)) for scan in scans]
        chosen: dict[str, Any] = {
            GAUSSIAN: tuned_panel_filter(task.layout, task.live, pairs, self.fwhm_pixels).fwhm_pixels
        }
        for name, method in self._made.items():
            chosen[name] = self._chosen(method, scans, self.tuning.get(name, {}))
        return chosen

    def _chosen(
        self, method: Tunable, scans: Sequence[ScanBatch], candidates: Mapping[str, tuple[float, ...]]
    ) -> dict[str, float]:
        """The best settings of a method, found once for a data set."""
        about = {"settings": getattr(method, "settings", method.told), "candidates": dict(candidates)}
        about |= {"kind": "tuned for projections", "system": self.data.system.to_dict()}
        about["edges_kev"] = list(self.denoiser.windows.boundaries_kev)
        kept = KeptTensors(self.data.folder, content_key(about, {}))

        def make() -> dict[str, Tensor]:
            found = tune(method, scans, self._error, candidates).chosen
            return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in found.items()}

        name = fingerprint(*(scan.projections for scan in scans))
        return {setting: float(value) for setting, value in kept.find_or_make(name, make).items()}

    def _error(self, activity: Tensor, scans: ScanBatch, context: ScanContext) -> Tensor:
        """Error of each scan of what an activity makes expected, [batch]."""
        expected = self.denoiser.truths(scans)
        estimate = self.denoiser.model.expected_counts(activity, context.attenuation, context.duration_s)
        return count_weighted(projection_nrmse(estimate, expected), expected)


class _Reprojected:
    """What the image of a method makes expected.

    Args:
        method: makes the image.
        task: knows the system.
        data: folder of the data set, beside which images and expectations are kept.
    """

    def __init__(self, method: Tunable, task: Denoising, data: Path) -> None:
        self.method, self.truths = method, task.truths
        self.images = PhysicsInputs(task.system, task.model, method)
        self.images.keep_beside(data)

    def __call__(self, inputs: Inputs) -> Tensor:
        """Expected counts [batch, pixel, window]; where no gradient is asked for, those that files keep."""
        model, scan = self.method.model, inputs.context
        if not torch.is_grad_enabled():
            empty = scan.density.new_zeros(len(scan.density))
            batch = ScanBatch(inputs.values, scan.duration_s, scan.density, empty, empty, empty)
            return self.truths(batch._replace(activity=self.images(batch).initial))
        context = scan_context(model, scan.density, scan.duration_s)
        activity = self.method.reconstruct(inputs.values, context)
        return model.expected_counts(activity, context.attenuation, context.duration_s)


@dataclass(frozen=True)
class DenoisingReport(TaskReport):
    """A task's report, with errors by window and their ratio to those of the tuned Gaussian filter.

    Args:
        windows: names of the energy windows.
        tuned: settings of the baselines with all counts.
    """

    windows: Sequence[str] = ()
    tuned: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, report: TaskReport, windows: Sequence[str], tuned: Mapping[str, Any]) -> DenoisingReport:
        """A task's report with what is told of windows and baselines."""
        told = {name: _words(settings) for name, settings in tuned.items()}
        facts = {**report.facts, **{f"Tuned {name}": words for name, words in told.items()}}
        fields = {name: getattr(report, name) for name in TaskReport.__dataclass_fields__}
        return cls(**{**fields, "facts": facts}, windows=windows, tuned=tuned)

    def numbers(self) -> dict[str, float]:
        """As a task's, and ``test/nrmse_ratio/WINDOW/METHOD`` with ``/low`` and ``/high``: the mean error
        over that of the tuned Gaussian filter (``all``: mean over windows, weighted by counts), and
        ``test/nrmse_ratio_to_map_rdp/all/METHOD`` over that of a reprojected reconstruction; ``_at_0.3`` at
        that share of the counts. ``test/tuned/METHOD/SETTING`` is what was chosen with all counts (of the
        Gaussian filter the FWHM of each window, in pixels).
        """
        found = super().numbers()
        for method, settings in (self.tuned or {}).items():
            named = settings if isinstance(settings, Mapping) else zip(self.windows, settings, strict=True)
            found |= {f"test/tuned/{method}/{name}": float(value) for name, value in dict(named).items()}
        for fraction in self.outcome.fractions:
            condition = Condition(fraction)
            scores = self.outcome.scores[condition]
            methods = [name for name in scores if not self.outcome.failures(condition, name)]
            others = [name for name in (self.tuned or {}) if name != GAUSSIAN and name in methods]
            for name in methods:
                for window in ("all", *self.windows):
                    key = SCORE if window == "all" else f"{SCORE}_{window}"
                    values = mean_ratio(scores[name][key], scores[GAUSSIAN][key])
                    found |= _told(f"test/nrmse_ratio{condition.level}/{window}/{name}", values)
                for other in others:
                    values = mean_ratio(scores[name][SCORE], scores[other][SCORE])
                    found |= _told(f"test/nrmse_ratio_to_{other}{condition.level}/all/{name}", values)
        return found

    def tables(self, numbers: Mapping[str, float]) -> list[Table]:
        """Methods by window first."""
        return [self._windows_table(numbers), *super().tables(numbers)[1:]]

    def _windows_table(self, numbers: Mapping[str, float]) -> Table:
        """A row for each window: mean error of each method, and ratios to the Gaussian filter."""
        methods = self.outcome.ranked
        learnt = [m for m in methods if m not in (NOISY, GAUSSIAN)]
        rows: list[tuple[Cell, ...]] = []
        for window in ("all", *self.windows):
            key = SCORE if window == "all" else f"{SCORE}_{window}"
            cells: list[Cell] = [float(self.outcome.scores[FULL][m][key].double().nanmean()) for m in methods]
            for name in learnt:
                base = f"test/nrmse_ratio/{window}/{name}"
                value, low, high = (numbers.get(k, torch.nan) for k in (base, f"{base}/low", f"{base}/high"))
                cells.append(f"{value:.3f} ({low:.3f} to {high:.3f})")
            rows.append((window.replace("_", "-").replace("kev", " keV"), *cells))
        columns = ("Window", *map(method_label, methods), *(f"{method_label(m)} / gaussian" for m in learnt))
        scans = len(self.outcome.scores[FULL][GAUSSIAN][SCORE])
        caption = (
            f"NRMSE of projections against their noise-free expectation: mean of {scans} unseen scans "
            "(all: over windows, weighted by counts), and its ratio to the Gaussian filter tuned in each "
            "window, with 95 % intervals over scans."
        )
        return Table("windows", caption, columns, tuple(rows))


def mean_ratio(first: Tensor, second: Tensor) -> Interval:
    """Ratio of the means of two errors of the same scans [scan], with its 95 % interval by the delta method.

    To first order the ratio R is a mean of R + (a - R b) / mean(b), whose Student's interval this is.
    """
    first, second = first.double(), second.double()
    known = torch.isfinite(first) & torch.isfinite(second)
    first, second = first[known], second[known]
    if not len(first) or float(second.mean()) == 0:
        return Interval(torch.nan, torch.nan, torch.nan)
    ratio = first.mean() / second.mean()
    return mean_interval(ratio + (first - ratio * second) / second.mean())


def _told(key: str, values: Interval) -> dict[str, float]:
    numbers = {key: values.value, f"{key}/low": values.low, f"{key}/high": values.high}
    return {name: value for name, value in numbers.items() if value == value}


def _words(settings: Any) -> str:
    """Settings of a baseline in words."""
    if isinstance(settings, Mapping):
        return ", ".join(f"{name} {value:g}" for name, value in settings.items())
    return "FWHM " + ", ".join(f"{width:g}" for width in settings) + " pixels"
