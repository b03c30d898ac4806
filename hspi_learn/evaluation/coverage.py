"""Conformal intervals of trained reconstructions: calibrated on drawn subjects, tried on the test scans."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.data import OnlineScans, OnlineTraining, ScanDataModule, collate
from hspi_learn.evaluation.case import thinned_scans
from hspi_learn.evaluation.conformal import (
    Calibration,
    binomial_interval,
    conformal_scores,
    coverage,
    organ_quantiles,
    predicted_scale,
    regional_sums,
    weights_hash,
)
from hspi_learn.evaluation.judge import OUTSIDE, Judge
from hspi_learn.evaluation.protocols import Call, Calls
from hspi_learn.evaluation.report import write_report
from hspi_learn.evaluation.study import Conditions
from hspi_learn.evaluation.tables import Cell, Table
from hspi_learn.metrics import regions_with_single_lesions
from hspi_learn.reconstructor import Reconstructor, ScanBatch
from hspi_learn.tasks import Task
from hspi_learn.visual import method_label

FEWEST_SUBJECTS = 20
"""Coverage of fewer test scans is not shown: its interval would hold nearly every chance; chosen."""


class ConformalCoverage:
    """Conformal intervals of the activity in true outlines, by each run's image, and how often they hold it.

    Organs are read in their outlines, and each tumour in its own; the score of a subject's tumours is the
    highest of them, so that their intervals hold all of them together. Calibration subjects are drawn by the
    data set's plan (``hspi_learn/data/online_scans.py``).

    Args:
        runs: trained reconstructions by name, one or more.
        data: the test scans.
        conditions: how they are shown; shares of the counts under 1 are a shift that no calibration knew.
        population: draws the calibration subjects; its ``subjects`` is not used. With the seed of the
            runs' own training population, bodies are those of the training.
        first: number of the first one. Runs that were trained on this population have seen those before.
        subjects: how many there are.
        level: chance of an interval to hold the truth.
        checked: so many more subjects, the next ones, are not calibrated on but tried like test scans: what
            differs in the test scans is not in them.

    Raises:
        UserError: there is no run, one is no reconstruction, attacks are asked for, or a number is out of its
            range.
    """

    def __init__(
        self,
        runs: Mapping[str, Task],
        data: ScanDataModule,
        conditions: Conditions,
        population: OnlineTraining,
        first: int = 0,
        subjects: int = 1000,
        level: float = 0.9,
        checked: int = 200,
    ) -> None:
        if not runs:
            raise UserError("runs is empty; conformal intervals need one or more, as in +runs.mine=RUN_DIR")
        for name, run in runs.items():
            if not isinstance(run, Reconstructor):
                raise UserError(
                    f"runs.{name} is a {type(run).__name__}, which makes no activity maps; conformal "
                    "intervals need reconstructions"
                )
        if first < 0 or subjects < 1 or checked < 0:
            raise UserError(
                f"first is {first}, subjects {subjects} and checked {checked}; they need 0 or more, 1 or "
                "more, and 0 or more"
            )
        if not 0 < level < 1:
            raise UserError(f"level is {level}; it needs to be over 0 and under 1, as 0.9")
        self.runs, self.data, self.conditions, self.level = runs, data, conditions, level
        self.numbers = range(first, first + subjects)
        self.checked = range(first + subjects, first + subjects + checked)
        trained: list[Any] = list(runs.values())
        self.model: HyperspectralForwardModel = trained[0].model
        self.judge = Judge.of(self.model)
        training = dataclasses.replace(population, subjects=first + subjects + checked, fresh=False)
        memory = int(data.memory_gib * 2**30)
        self.drawn = OnlineScans.of(training, data.manifest, data.system, data.windows, data.folder, memory)
        for run in runs.values():
            keep = getattr(getattr(run, "physics_inputs", None), "keep_beside", None)
            if keep is not None:
                keep(data.folder)

    def evaluate(self, calls: Calls) -> CoverageReport:
        """Calibrate on drawn subjects and try the intervals on the test scans."""
        size, tests = self.data.batch_size, len(self.data.scans("test"))
        calibration = self._drawn_scores(calls, "calibration subjects", self.numbers)
        checked = self._drawn_scores(calls, "checked subjects", self.checked) if self.checked else {}
        test: dict[float, dict[str, Tensor]] = {}
        for fraction in self.conditions.count_fractions:
            asked = [("test", (range(at, min(at + size, tests)), fraction)) for at in range(0, tests, size)]
            parts = calls(f"test scans, share {fraction:g} of the counts", asked)
            test[fraction] = {name: torch.cat([part[name] for part in parts]) for name in self.runs}
        groups = self.model.groups.names
        quantiles = {
            name: organ_quantiles(scores, groups, self.judge.organs, self.level)
            for name, scores in calibration.items()
        }
        weights = {name: weights_hash(run) for name, run in self.runs.items()}
        found = Calibration(self.level, len(self.numbers), quantiles, weights)
        facts = {
            "Calibration": f"{len(self.numbers)} drawn subjects, numbers {self.numbers.start} to "
            f"{self.numbers.stop - 1} of seed {self.drawn.population.seed}, on "
            f"{min(self.drawn.population.anatomies, len(self.numbers))} bodies",
            "Test scans": f"{tests} stored scans of {self.data.folder}",
            "Score": "|estimate - truth| / scale, scale = estimate x sqrt(0.1^2 + 1 / counts of its share); "
            "of a subject's tumours the highest",
            "Interval": f"of coverage: exact binomial, 95 %; the wanted coverage is {100 * self.level:g} %",
        }
        return CoverageReport(found, test, groups, self.judge.organs, facts, checked)

    def _drawn_scores(self, calls: Calls, title: str, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Scores of drawn subjects by run, [subject, map, organ], those of one body after each other, since
        its images are costly to make or read."""
        ordered, size = sorted(numbers, key=self.drawn.population.anatomy_of), self.data.batch_size
        asked: list[Call] = [
            ("calibration", (ordered[at : at + size],)) for at in range(0, len(ordered), size)
        ]
        parts = calls(title, asked)
        return {name: torch.cat([part[name] for part in parts]) for name in self.runs}

    def calibration(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Scores of some calibration subjects by run, [subject, map, organ]."""
        return self._scores(collate([self.drawn[number] for number in numbers]))

    def test(self, numbers: Sequence[int], fraction: float) -> dict[str, Tensor]:
        """Scores of some test scans, shown with a share of their counts."""
        scans = collate([self.data.windowed("test")[number] for number in numbers])
        return self._scores(scans if fraction == 1 else thinned_scans(scans, fraction, self.conditions.seed))

    @torch.no_grad()
    def _scores(self, scans: ScanBatch) -> dict[str, Tensor]:
        """[scan, map, organ] by run; NaN for what a scan does not have."""
        organs = len(self.judge.organs)
        regions = regions_with_single_lesions(scans.labels, self.judge.lesion(scans.labels), organs)
        size = max(organs, int(regions.max()) + 1)
        truth = regional_sums(scans.activity, regions, size)
        tumour, counts = self.judge.organs.index(self.judge.tumour), scans.projections.sum((1, 2)).double()
        found = {}
        for name, run in self.runs.items():
            image = run.predict_batch(scans)
            estimate = regional_sums(image, regions, size)
            scale = predicted_scale(estimate, image.double().sum((1, 2, 3, 4)), counts)
            every = conformal_scores(estimate, truth, scale)
            scores = every[..., :organs].clone()
            scores[..., tumour] = _highest(every[..., organs:])
            scores[..., OUTSIDE] = torch.nan
            found[name] = scores
        return found


def _highest(scores: Tensor) -> Tensor:
    """The highest known value along the last axis; NaN where there is none."""
    none = scores.isnan().all(-1) if scores.shape[-1] else torch.ones(scores.shape[:-1], dtype=torch.bool)
    if not scores.shape[-1]:
        return torch.full(scores.shape[:-1], torch.nan, dtype=scores.dtype)
    return torch.where(none, torch.nan, scores.nan_to_num(-torch.inf, posinf=torch.inf).amax(-1))


@dataclass(frozen=True)
class CoverageReport:
    """What a calibration found, and how often its intervals hold the truth of test scans.

    Args:
        calibration: the quantiles.
        test: scores [scan, map, organ] by share of the counts and run.
        groups: names of the activity maps.
        organs: names of the organs.
        facts: what was done, as name and value.
        checked: scores of further subjects of the calibration's population by run; empty without them.
    """

    calibration: Calibration
    test: Mapping[float, Mapping[str, Tensor]]
    groups: Sequence[str]
    organs: Sequence[str]
    facts: Mapping[str, str]
    checked: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, tuple[str, Mapping[str, Tensor]]]:
        """What intervals are tried on: name of the figure, and title and scores by run."""
        found: dict[str, tuple[str, Mapping[str, Tensor]]] = {}
        if self.checked:
            found["calibration/coverage"] = ("coverage, same population", self.checked)
        for fraction, by_run in self.test.items():
            told = "coverage" if fraction == 1 else f"coverage, {fraction:g} of the counts"
            found["test/coverage" + ("" if fraction == 1 else f"_at_{fraction:g}")] = (told, by_run)
        return found

    def numbers(self) -> dict[str, float]:
        """``test/coverage/RUN/MAP/ORGAN``, its ``/low`` and ``/high`` (exact binomial, 95 %), ``/scans``, and
        ``test/coverage_at_0.3/...`` at that share of the counts, ``calibration/coverage/...`` of further
        subjects of the calibration's population; ORGAN ``all`` pools organs and tumours.
        ``calibration/quantile/RUN/MAP/ORGAN`` and ``calibration/subjects``."""
        found = {"calibration/subjects": float(self.calibration.subjects)}
        for run, maps in self.calibration.quantiles.items():
            for group, quantiles in maps.items():
                found |= {f"calibration/quantile/{run}/{group}/{organ}": q for organ, q in quantiles.items()}
                for figure, (_, by_run) in self.shown.items():
                    scores = by_run[run][:, self.groups.index(group)]
                    pairs = {
                        organ: coverage(scores[:, self.organs.index(organ)], q)
                        for organ, q in quantiles.items()
                    }
                    hits, scans = (sum(pair[k] for pair in pairs.values()) for k in (0, 1))
                    found |= _told(f"{figure}/{run}/{group}/all", hits, scans, interval=False)
                    for organ, (hits, scans) in pairs.items():
                        found |= _told(f"{figure}/{run}/{group}/{organ}", hits, scans)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def tables(self, numbers: Mapping[str, float]) -> list[Table]:
        """A row for each run, map and organ: half-width, and coverage at each share of the counts."""
        rows: list[tuple[Cell, ...]] = []
        for run, maps in self.calibration.quantiles.items():
            for group, quantiles in maps.items():
                for organ in (*quantiles, "all"):
                    cells: list[Cell] = [quantiles.get(organ, math.nan)]
                    for figure in self.shown:
                        key = f"{figure}/{run}/{group}/{organ}"
                        cells += [numbers.get(key, math.nan), _ends(numbers, key)]
                    rows.append((method_label(run), group, organ, *cells))
        columns = ["Method", "map", "organ", "quantile"]
        for title, _ in self.shown.values():
            columns += [title, title.replace("coverage", "95 % interval")]
        caption = (
            f"Share of test scans whose {100 * self.calibration.level:g} % interval holds the true activity; "
            "intervals are estimate +- quantile x scale, calibrated with all counts. Same population: of "
            "further drawn subjects, like those of the calibration. A share of the counts "
            "under 1 is a shift that the calibration did not know. All: organs and tumours pooled; they are "
            "of the same scans, so that no binomial interval holds."
        )
        return [Table("coverage", caption, tuple(columns), tuple(rows))]

    def statements(self, numbers: Mapping[str, float]) -> list[str]:
        """Of each run and map: how many organs are covered as promised, by the binomial intervals."""
        told = []
        for run, maps in self.calibration.quantiles.items():
            for group, quantiles in maps.items():
                keys = [f"test/coverage/{run}/{group}/{organ}" for organ in quantiles]
                known = [key for key in keys if f"{key}/low" in numbers]
                low = sum(numbers[f"{key}/high"] < self.calibration.level for key in known)
                high = sum(numbers[f"{key}/low"] > self.calibration.level for key in known)
                told.append(
                    f"{method_label(run)}, {group}: of {len(known)} organs and tumours {low} are covered "
                    f"less often than promised, {high} more often; pooled coverage "
                    f"{100 * numbers.get(f'test/coverage/{run}/{group}/all', math.nan):.1f} %."
                )
        return told

    def write(self, folder: Path) -> dict[str, float]:
        """Write ``calibration.json``, the table and the page; returns the numbers."""
        numbers = self.numbers()
        tables = self.tables(numbers)
        self.calibration.write(folder / "calibration.json")
        for table in tables:
            table.write(folder / "tables")
        title = f"Conformal intervals from {self.calibration.subjects} subjects"
        write_report(folder / "report.html", title, self.statements(numbers), self.facts, tables, {})
        return numbers


def _told(key: str, hits: int, scans: int, interval: bool = True) -> dict[str, float]:
    """Coverage with its interval, under a name; nothing of fewer than :data:`FEWEST_SUBJECTS` scans."""
    if scans < FEWEST_SUBJECTS:
        return {}
    found = {key: hits / scans, f"{key}/scans": float(scans)}
    if interval:
        found[f"{key}/low"], found[f"{key}/high"] = binomial_interval(hits, scans)
    return found


def _ends(numbers: Mapping[str, float], key: str) -> str:
    """An interval as text."""
    if f"{key}/low" not in numbers:
        return "-"
    return f"{numbers[f'{key}/low']:.3f} to {numbers[f'{key}/high']:.3f}"
