"""How trained runs of a task are evaluated: by the task's scores, or with all that reconstructions ask for.

A task names its protocol (:attr:`hspi_learn.tasks.Task.protocol`), and ``conf/evaluate.yaml`` says what
stands under that name. Work is cut into calls of a protocol's own methods, which run in any process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from data_gen.core.cache import content_key
from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import check_space
from hspi_learn.classical import KernelRidge, MeanImage, Oracle, Osem, Sharpened, Tunable, tune
from hspi_learn.data import KeptTensors, ScanDataModule, collate, fingerprint
from hspi_learn.evaluation.case import ReconstructionCase, TaskCase, thinned_scans
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.identifiability import LeastDeviations, bounds_key, least_deviations
from hspi_learn.evaluation.judge import Judge, JudgedError
from hspi_learn.evaluation.noise import NoisePoint, Sweep, noise_study
from hspi_learn.evaluation.output import ReconstructionReport
from hspi_learn.evaluation.reconstruction import (
    UNATTACKED,
    ReconstructionOutcome,
    ReconstructionStudy,
    Tuned,
)
from hspi_learn.evaluation.study import FULL, Conditions, Method, Outcome, run_case
from hspi_learn.evaluation.tables import Table
from hspi_learn.evaluation.task_report import SampleScores, TaskReport
from hspi_learn.evaluation.texture import CODE_VERSION as TEXTURE_VERSION
from hspi_learn.evaluation.texture import LEAST_VOLUMES, TruthReference, Truths, texture_numbers
from hspi_learn.evaluation.texture import STEPS as TEXTURE_STEPS
from hspi_learn.evaluation.tumour_activity import TumourActivities, tumour_activities
from hspi_learn.reconstructor import Reconstructor, ScanBatch, scan_context
from hspi_learn.tasks import Task
from hspi_learn.tasks.physics_input import CODE_VERSION as PHYSICS_VERSION
from hspi_learn.visual import method_label

Call = tuple[str, tuple[Any, ...]]
"""Name of a method of the protocol, and its arguments."""

Calls = Callable[[str, Sequence[Call]], list[Any]]
"""Runs calls in any process, begun in their order, and returns their results; the title tells progress."""


class Report(Protocol):
    """What an evaluation found."""

    def write(self, folder: Path) -> dict[str, float]:
        """Write tables, figures and ``report.html`` into a folder; returns the flat numbers."""

    def tables(self, numbers: dict[str, float]) -> list[Table]:
        """Tables, the headline first."""

    def statements(self, numbers: Mapping[str, float]) -> list[str]:
        """What may be said of the methods, a sentence each."""


class EvaluationProtocol(Protocol):
    """How trained runs are evaluated.

    A config names its class as a partial; the evaluation hands over ``runs``, ``data`` and ``conditions``.
    """

    def evaluate(self, calls: Calls) -> Report:
        """Compare all runs under all conditions on the test split.

        Args:
            calls: runs methods of this protocol in any process, each with a protocol of its own.
        """


class _Batches:
    """Batches of a split by the numbers of their scans."""

    def __init__(self, data: ScanDataModule) -> None:
        self.data = data

    def of(self, split: str, most: int | None = None) -> list[range]:
        """Numbers of the scans of each batch, of the first ``most`` scans at most."""
        scans = len(self.data.scans(split)) if most is None else min(most, len(self.data.scans(split)))
        size = self.data.batch_size
        return [range(first, min(first + size, scans)) for first in range(0, scans, size)]

    def scans(self, split: str, numbers: Iterable[int]) -> ScanBatch:
        """Scans of a split as a batch."""
        return collate([self.data.windowed(split)[i] for i in numbers])


class TaskScores:
    """Any task by its own contract: scores of every test sample, clean, with fewer counts, and attacked.

    Args:
        runs: trained tasks by name, one or more of one kind.
        data: test scans.
        conditions: how they are shown.

    Raises:
        UserError: there is no run, runs score differently, or a threat model does not fit their inputs.
    """

    def __init__(self, runs: Mapping[str, Task], data: ScanDataModule, conditions: Conditions) -> None:
        if not runs:
            raise UserError("runs is empty; this protocol needs one or more, as in +runs.mine=RUN_DIR")
        kinds = {name: type(run).__name__ for name, run in runs.items()}
        if len(set(kinds.values())) > 1:
            raise UserError(f"runs are of different tasks ({kinds}); compare those of one task")
        self.runs, self.data, self.conditions = runs, data, conditions
        self.task = next(iter(runs.values()))
        self.batches = _Batches(data)
        if conditions.attacks:
            with torch.no_grad():
                space = self.task.inputs(self.batches.scans("test", [0])).space
            for attack in conditions.attacks.values():
                check_space(attack.threat_model, space, type(self.task).__name__)

    def evaluate(self, calls: Calls) -> TaskReport:
        """See :class:`EvaluationProtocol`."""
        batches = self.batches.of("test")
        found = calls("test samples", [("outcome", (numbers,)) for numbers in batches])
        return self.reported(Outcome.joined(found))

    def reported(self, outcome: Outcome) -> TaskReport:
        """The report of what was found, with pictures of the first sample."""
        kind, first = type(self.task), self.batches.scans("test", [0])
        samples = len(next(iter(outcome.failed[FULL].values())))
        with torch.no_grad():
            figures = {
                f"{name}_{title}": CaptionedFigure(
                    figure, f"{title} of the first test sample, by {method_label(name)}."
                )
                for name, run in self.runs.items()
                for title, figure in run.figures(first)
            }
        facts = {
            "Task": kind.__name__,
            "Test samples": str(samples),
            "Data": str(self.data.folder),
        }
        if self.conditions.attacks:
            facts["Attack"] = self.conditions.told
        return self.report(
            f"{kind.__name__}: {samples} unseen samples",
            outcome,
            kind.reduction,
            self.task.higher_is_better,
            kind.watched.metric.partition("/")[2],
            facts,
            figures,
        )

    report: ClassVar[Callable[..., TaskReport]] = TaskReport
    """What is made of what was found."""

    def methods(self, fraction: float) -> dict[str, Method]:  # noqa: ARG002  # the same at every level
        """What is compared at a count level."""
        return {name: Method(run.predict, run) for name, run in self.runs.items()}

    def outcome(self, numbers: range) -> Outcome:
        """Every run under every condition on some test samples."""
        case = TaskCase(self.task, self.batches.scans("test", numbers), numbers.start)
        return run_case(
            case,
            {fraction: self.methods(fraction) for fraction in self.conditions.count_fractions},
            self.conditions,
            self.judged,
        )

    def judged(self, prediction: torch.Tensor, seen: TaskCase) -> SampleScores:
        """Scores of a prediction of some samples."""
        return SampleScores(self.task.scores(prediction, seen.batch))


class ReconstructionProtocol:
    """Reconstructions beside tuned classical methods and the training mean, with organs, tumours and noise.

    Args:
        runs: trained tasks by name, each a :class:`~hspi_learn.reconstructor.Reconstructor`; may be none.
        data: scans: training ones for their mean, validation ones for tuning, test ones.
        conditions: how the test scans are shown.
        classical: make the classical methods for a forward model, by name; one that learns is given training
            scans of each count level.
        tuning: candidates of settings of each classical method; for each count level the best of all
            combinations is taken.
        tuning_scans: on so many validation scans.
        training_scans: methods that learn get the first so many training scans; None: all. Their OSEM images
            are kept beside the data set.
        noise_realisations: Poisson draws of one test mouse, for bias against noise; 0 for none.
        noise_iterations: iterations shown beside the tuned ones.
        bound_scans: Cramer-Rao bounds are computed of the first so many test scans; None: of all. They are
            kept beside the data set.
        oracles: make methods that are told the true outlines of the test scans, for a forward model, by
            name. Each has rows of its own in tables, marked, and is compared with no other method.
        sharpened: names of runs; each that is there is joined by ``NAME_sharpened``, its images filtered to
            the power spectrum of truths on the scans that others are tuned on. What an adversary changes
            beyond a linear filter shows beside it.
        texture_truths: the first so many training truths teach the network whose features the Frechet
            distance compares; 0 for none.
        regional_scans: activity of tumours by regional maximum likelihood in the lesions that each method's
            own image shows, beside image sums, on the first so many test scans, and on as many validation
            scans, which say which of the two is better; None: all, 0: none.

    Raises:
        UserError: a run is no reconstruction of activity, a threat model does not fit counts, two methods
            have one name, or one that is tuned is none of the classical ones.
    """

    def __init__(
        self,
        runs: Mapping[str, Task],
        data: ScanDataModule,
        conditions: Conditions,
        classical: Mapping[str, Callable[[HyperspectralForwardModel], Tunable]],
        tuning: Mapping[str, Mapping[str, tuple[float, ...]]],
        tuning_scans: int = 12,
        training_scans: int | None = 100,
        noise_realisations: int = 30,
        noise_iterations: tuple[int, ...] = (1, 2, 4),
        bound_scans: int | None = None,
        oracles: Mapping[str, Callable[[HyperspectralForwardModel], Oracle]] | None = None,
        sharpened: Sequence[str] = ("control",),
        texture_truths: int = 1000,
        regional_scans: int | None = 0,
    ) -> None:
        if regional_scans is not None and regional_scans < 0:
            raise UserError(f"regional_scans is {regional_scans}; it needs a number of scans, 0 or more")
        for name, run in runs.items():
            if not isinstance(run, Reconstructor):
                raise UserError(
                    f"runs.{name} is a {type(run).__name__}, which makes no activity maps; "
                    "it needs a protocol of its own, as its class says"
                )
            if name in classical:
                raise UserError(f"runs.{name} has the name of a classical method; choose another")
        self.oracles = dict(oracles or {})
        for name in self.oracles:
            if name in (*runs, *classical, *UNATTACKED):
                raise UserError(f"oracles.{name} has the name of another method; choose another")
        self.sharpened = tuple(name for name in sharpened if name in runs)
        for name in self.sharpened:
            if sharpened_name(name) in (*runs, *classical, *self.oracles):
                raise UserError(f"runs has both {name} and {sharpened_name(name)}; choose another name")
        self.texture_truths = texture_truths
        for name in tuning:
            if name not in classical:
                raise UserError(f"tuning.{name} is none of the classical methods {list(classical)}")
        for attack in conditions.attacks.values():
            check_space(attack.threat_model, "counts", "reconstructions")
        self.runs: Mapping[str, Any] = runs
        self.data, self.conditions, self.classical = data, conditions, classical
        self.tuning, self.tuning_scans, self.training_scans = tuning, tuning_scans, training_scans
        self.noise_realisations, self.noise_iterations = noise_realisations, noise_iterations
        self.bound_scans, self.regional_scans = bound_scans, regional_scans
        trained: list[Any] = [run.model for run in runs.values()]
        self.model: HyperspectralForwardModel = (
            trained[0] if trained else data.system.forward_model(data.windows)
        )
        self.judge = Judge.of(self.model)
        self.batches = _Batches(data)
        self._learnt: dict[tuple[float, str], KernelRidge] = {}
        self._matched: dict[tuple[float, str], Sharpened] = {}

    def evaluate(self, calls: Calls) -> ReconstructionReport:
        """Tune, compare all methods on all test scans, and repeat the noise."""
        fractions = self.conditions.count_fractions
        asked = list(itertools.product(fractions, self.classical))
        if learning := [one for one in asked if isinstance(self.untuned[one[1]], KernelRidge)]:
            training = self.batches.of("train", self.training_scans)
            # Images that several processes make here are found in files by all that follows.
            calls("training scans", [("osem_images", (*one, some)) for one in learning for some in training])
        found = calls("tuning classical methods", [("tuned", one) for one in asked])
        tunings: dict[float, dict[str, Tuned]] = {fraction: {} for fraction in fractions}
        for (fraction, name), tuned in zip(asked, found, strict=True):
            tunings[fraction][name] = tuned
        mean_activity = self.mean_activity()
        batches, bounded = self.batches.of("test"), self.batches.of("test", self.bound_scans)
        methods = list(self.methods(tunings[1.0])) if self.noise_realisations else []
        regional = [
            (split, numbers)
            for split in ("test", "validation")
            for numbers in self.batches.of(split, self.regional_scans)
        ]
        # In one go, since the first batches, attacked, take longest: noise goes on beside them.
        found = calls(
            "test scans, noise and bounds",
            [("outcome", (tunings, mean_activity, numbers)) for numbers in batches]
            + [("noise", (tunings[1.0], method)) for method in reversed(methods)]
            + [("bounds", (numbers,)) for numbers in bounded]
            + [("tumour_activities", (tunings[1.0], split, numbers)) for split, numbers in regional],
        )
        tumours = _by_split(regional, found[len(found) - len(regional) :])
        found = found[: len(found) - len(regional)]
        after = len(batches) + len(methods)
        outcome = ReconstructionOutcome.joined(found[: len(batches)])
        points = dict(zip(methods, reversed(found[len(batches) : after]), strict=True))
        bounds = (
            LeastDeviations.joined(found[after:]) if bounded else LeastDeviations.none(self.judge, self.model)
        )
        return ReconstructionReport(
            self.model,
            self.judge,
            outcome,
            points,
            tunings,
            bounds,
            self.data.scans("test"),
            self.conditions.told,
            texture_numbers(outcome, self.truth_reference()),
            tumours,
        )

    @cached_property
    def untuned(self) -> dict[str, Tunable]:
        """The classical methods before tuning and learning, by name.

        Raises:
            UserError: one of them has no settings to tune.
        """
        found = {name: make(self.model) for name, make in self.classical.items()}
        for name, method in found.items():
            if not isinstance(method, Tunable):
                raise UserError(f"classical.{name} is a {type(method).__name__}; it needs to be a Tunable")
        return found

    def mean_activity(self) -> torch.Tensor:
        """The mean image of the training mice, [map, z, y, x]."""
        training = (self.batches.scans("train", numbers) for numbers in self.batches.of("train"))
        return MeanImage.of(self.model, training).mean_activity

    def tuned(self, fraction: float, name: str) -> Tuned:
        """A classical method at its best settings for a count level, told from validation scans."""
        cases = (
            ReconstructionCase.of(self.model, self.batches.scans("validation", numbers)).thinned(
                fraction, self.conditions.seed
            )
            for numbers in self.batches.of("validation", self.tuning_scans)
        )
        batches, error = (case.batch for case in cases), JudgedError(self.model)
        found = tune(self.learnt(fraction, name), batches, error, self.tuning.get(name, {}))
        return Tuned(found.chosen, found.method.told, found.at_edge)

    def learnt(self, fraction: float, name: str) -> Tunable:
        """A classical method before tuning; if it learns, from training scans of this count level."""
        method, place = self.untuned[name], (fraction, name)
        if not isinstance(method, KernelRidge):
            return method
        if place not in self._learnt:
            training = self.batches.of("train", self.training_scans)
            scans = (self._training(fraction, numbers) for numbers in training)
            self._learnt[place] = method.fitted(scans, partial(self._osem_images, method))
        return self._learnt[place]

    def osem_images(self, fraction: float, name: str, numbers: range) -> None:
        """Make and keep what a method that learns compares training scans by."""
        method = self.untuned[name]
        assert isinstance(method, KernelRidge)
        self._osem_images(method, self._training(fraction, numbers))

    def _training(self, fraction: float, numbers: range) -> ScanBatch:
        """Training scans stopped early."""
        scans = self.batches.scans("train", numbers)
        return scans if fraction == 1 else thinned_scans(scans, fraction, self.conditions.seed)

    @torch.no_grad()
    def _osem_images(self, method: KernelRidge, scans: ScanBatch) -> torch.Tensor:
        """[scan, image, map, z, y, x] in Bq per voxel, computed once for a data set."""
        about = {
            "version": PHYSICS_VERSION,
            "system": self.data.system.to_dict(),
            "edges_kev": self.model.energy_bins.edges_kev.tolist(),
            "method": method.settings,
        }
        kept = KeptTensors(self.data.folder, content_key(about, {}))

        def images(counts: torch.Tensor, duration_s: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
            def make() -> dict[str, torch.Tensor]:
                context = scan_context(self.model, density[None], duration_s[None])
                return {"images": method.osem_images(counts[None], context)[0]}

            return kept.find_or_make(fingerprint(counts, duration_s, density), make)["images"]

        parts = zip(scans.projections, scans.duration_s, scans.density, strict=True)
        return torch.stack([images(*scan) for scan in parts])

    def methods(self, tuned: Mapping[str, Tuned], fraction: float = 1.0) -> dict[str, Reconstructor]:
        """What is compared at a count level, but for the mean image."""
        classical = {
            name: self.learnt(fraction, name).with_settings(**best.settings) for name, best in tuned.items()
        }
        sharpened = {sharpened_name(name): self.matched(fraction, name) for name in self.sharpened}
        return {**self.runs, **sharpened, **classical}

    def matched(self, fraction: float, name: str) -> Sharpened:
        """A run, sharpened to the spectrum of truths on validation scans of this count level."""
        place = (fraction, name)
        if place not in self._matched:
            cases = (
                ReconstructionCase.of(self.model, self.batches.scans("validation", numbers)).thinned(
                    fraction, self.conditions.seed
                )
                for numbers in self.batches.of("validation", self.tuning_scans)
            )
            scans = ((case.batch.projections, case.batch.activity, case.context) for case in cases)
            self._matched[place] = Sharpened.matched(self.runs[name], scans)
        return self._matched[place]

    def truth_reference(self) -> TruthReference | None:
        """Training truths and the network that tells their features, made once for a data set."""
        scans = self.data.windowed("train")  # drawn ones, with population=online
        number = min(self.texture_truths, len(scans))
        if number < LEAST_VOLUMES:
            return None
        truths = Truths.of(self.judge, (collate([scans[i]]) for i in range(number)))
        about = {"kind": "texture_features", "version": TEXTURE_VERSION, "steps": TEXTURE_STEPS}
        return TruthReference.of(truths, KeptTensors(self.data.folder, content_key(about, {})))

    def outcome(
        self, tunings: Mapping[float, Mapping[str, Tuned]], mean_activity: torch.Tensor, numbers: range
    ) -> ReconstructionOutcome:
        """Every method under every condition on some test scans."""
        mean_image = MeanImage(self.model, mean_activity)
        methods = {f: {**self.methods(tuned, f), "mean_image": mean_image} for f, tuned in tunings.items()}
        oracles = {name: make(self.model) for name, make in self.oracles.items()}
        study = ReconstructionStudy(self.model, self.judge, methods, self.conditions, oracles)
        return study.run_batch(self.batches.scans("test", numbers))

    def noise(self, tuned: Mapping[str, Tuned], method: str) -> list[NoisePoint]:
        """Repeated noise on the first test mouse with a tumour; OSEM at other iterations too."""
        chosen = self.methods(tuned)[method]
        sweep = Sweep.of(chosen)
        if isinstance(chosen, Osem):
            sweep = Sweep.of_iterations(chosen, self.noise_iterations)
        case = ReconstructionCase.of(self.model, self.judge.first_with_tumour(self.data.windowed("test")))
        found = noise_study(self.judge, {method: sweep}, case, self.noise_realisations, self.conditions.seed)
        return found[method]

    def bounds(self, numbers: range) -> LeastDeviations:
        """What some test scans can tell of organs and tumours."""
        kept = KeptTensors(self.data.folder, bounds_key(self.data.system, self.model, self.judge.organs))
        return LeastDeviations.joined([self._bound(kept, self.batches.scans("test", [n])) for n in numbers])

    @torch.no_grad()
    def tumour_activities(
        self, tuned: Mapping[str, Tuned], split: str, numbers: range
    ) -> dict[str, TumourActivities]:
        """Activity of the tumours of some scans by every method, from its image and from the counts.

        Each scan and method takes a reconstruction, the projection of up to 16 regions, and a fit: 3 CPU
        seconds at the demo's size, about in proportion to the number of lesions that are found.
        """
        kept = KeptTensors(self.data.folder, bounds_key(self.data.system, self.model, self.judge.organs))
        found: dict[str, list[TumourActivities]] = {}
        for number in numbers:
            scan = self.batches.scans(split, [number])
            context, least_sd = (
                ReconstructionCase.of(self.model, scan).context,
                self._bound(kept, scan).lesions,
            )
            for name, method in self.methods(tuned).items():
                image = method.reconstruct(scan.projections, context)
                one = tumour_activities(self.model, self.judge, scan, image, least_sd)
                found.setdefault(name, []).append(one)
        return {name: TumourActivities.joined(parts) for name, parts in found.items()}

    def _bound(self, kept: KeptTensors, scan: ScanBatch) -> LeastDeviations:
        """The bounds of one scan, computed once for a data set."""
        name = fingerprint(scan.duration_s, scan.density, scan.activity, scan.labels)
        found = kept.find_or_make(name, lambda: least_deviations(self.model, self.judge, scan)._asdict())
        return LeastDeviations(**found)


def sharpened_name(run: str) -> str:
    """What a run is called after it was sharpened."""
    return f"{run}_sharpened"


def _by_split(
    places: Sequence[tuple[str, range]], found: Sequence[Mapping[str, TumourActivities]]
) -> dict[str, dict[str, TumourActivities]]:
    """Tumours of each split and method, all scans together."""
    by_split: dict[str, dict[str, list[TumourActivities]]] = {}
    for (split, _), by_method in zip(places, found, strict=True):
        for method, part in by_method.items():
            by_split.setdefault(split, {}).setdefault(method, []).append(part)
    return {
        split: {method: TumourActivities.joined(parts) for method, parts in by_method.items()}
        for split, by_method in by_split.items()
    }
