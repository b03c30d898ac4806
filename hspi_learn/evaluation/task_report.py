"""The evaluation of any task: its own scores over test samples, clean, with fewer counts and attacked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.core.files import whole_file
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.report import findings, write_report
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Outcome
from hspi_learn.evaluation.summary import attack_numbers
from hspi_learn.evaluation.tables import FAILED, Cell, Table, attacked_samples_table
from hspi_learn.metrics import Reduction, paired_interval, reduce_scans
from hspi_learn.visual import method_label

REDUCTIONS: tuple[Reduction, ...] = ("median", "mean", "worst")


class SampleScores(dict[str, Tensor]):
    """Scores of samples by name, each [sample]."""

    @classmethod
    def joined(cls, parts: Sequence[SampleScores]) -> SampleScores:
        """Scores of several batches as one."""
        return cls({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def of_first(self, samples: int) -> SampleScores:
        """Scores of the first so many samples."""
        return SampleScores({name: values[:samples] for name, values in self.items()})


@dataclass(frozen=True)
class TaskReport:
    """Everything that the evaluation of a task found.

    Args:
        title: title of the page.
        outcome: outcome of the study; its scores are :class:`SampleScores`.
        headline: how the task itself reduces its scores over samples.
        higher_is_better: names of the scores whose highest value is best.
        watched: name of the score that methods are compared by.
        facts: what was compared on what, as name and value.
        figures: by file name.
    """

    title: str
    outcome: Outcome
    headline: Reduction
    higher_is_better: frozenset[str]
    watched: str
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, CaptionedFigure] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """What ``metrics.json`` holds; a number that is undefined (NaN) is left out.

        ``test/SCORE/METHOD`` is reduced over samples as the task does it, ``SCORE_median``, ``_mean`` and
        ``_worst`` stand beside it; ``METHOD_ATTACK`` is under an attack, ``SCORE_unattacked`` clean on the
        attacked samples, and ``SCORE_at_0.3`` at that share of the counts. ``test/failed/METHOD`` counts the
        samples with a NaN or infinite prediction; such a method has no other number.
        """
        first = next(iter(self.outcome.scores[FULL].values()))
        found = {"test/samples": float(len(next(iter(first.values()))))}
        for condition, method, score, values in self._columns():
            at, name = condition.level, condition.named(method)
            failures = len(self.outcome.failures(condition, method))
            found[f"test/failed{at}/{name}"] = float(failures)
            if condition.kind != CLEAN:
                found["test/samples_attacked"] = float(len(values))
            if failures:
                continue
            found[f"test/{score}{at}/{name}"] = self._over(score, values, self.headline)
            for reduction in REDUCTIONS:
                found[f"test/{score}_{reduction}{at}/{name}"] = self._over(score, values, reduction)
            if condition.kind != CLEAN and method in self.outcome.ranked:
                same = self.outcome.scores[FULL][method][score][: len(values)]
                found[f"test/{score}_unattacked/{method}"] = self._over(score, same, self.headline)
        found |= attack_numbers(self.outcome) | self._differences()
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _columns(self) -> Iterator[tuple[Condition, str, str, Tensor]]:
        """Condition, method, score and its value for each sample."""
        for condition, by_method in self.outcome.scores.items():
            for method, scores in by_method.items():
                for score, values in scores.items():
                    yield condition, method, score, values

    def _over(self, score: str, values: Tensor, reduction: Reduction) -> float:
        """A score over samples; the worst is the lowest where higher is better."""
        values = values.double()
        if reduction == "worst" and score in self.higher_is_better:
            return -float(reduce_scans(-values, reduction))
        return float(reduce_scans(values, reduction))

    def _differences(self) -> dict[str, float]:
        """Paired differences in the watched score between methods that did not fail, with 95 % intervals."""
        numbers: dict[str, float] = {}
        for condition, by_method in self.outcome.scores.items():
            if condition.fraction != 1:
                continue
            suffix = "" if condition.kind == CLEAN else f"_{condition.kind}"
            ranked = [m for m in by_method if not self.outcome.failures(condition, m)]
            for a, b in combinations(ranked, 2):
                first, second = (by_method[m][self.watched] for m in (a, b))
                found = paired_interval(first, second)
                key = f"test/{self.watched}_difference{suffix}/{a}_minus_{b}"
                numbers |= {key: found.value, f"{key}/low": found.low, f"{key}/high": found.high}
                numbers[f"{key}/scans"] = float((~(torch.isnan(first) & torch.isnan(second))).sum())
        return numbers

    def statements(self, numbers: Mapping[str, float]) -> list[str]:
        """What may be said of each pair of methods."""
        return findings(self.outcome, numbers, (self.watched,), self.higher_is_better)

    def tables(self, numbers: Mapping[str, float]) -> list[Table]:
        """Methods by score, and every condition."""
        return [self._methods_table(numbers), self._conditions_table()]

    def _methods_table(self, numbers: Mapping[str, float]) -> Table:
        """A row for each method: its scores, clean and under each attack."""
        first = next(iter(self.outcome.scores[FULL].values()))
        columns = ["Method", *first]
        columns += [f"{score}, {kind}" for kind in self.outcome.attacks for score in first]
        rows: list[tuple[Cell, ...]] = []
        for method in self.outcome.methods:
            shown_to = [FULL, *(Condition(1.0, kind) for kind in self.outcome.attacks)]
            cells = [
                self._cell(numbers, condition, method, score) for condition in shown_to for score in first
            ]
            rows.append((method_label(method), *cells))
        over = "means" if self.headline == "mean" else "medians"
        caption = f"Scores of the task, {over} over {int(numbers['test/samples'])} unseen samples."
        return Table("methods", caption, tuple(columns), tuple(rows))

    def _cell(self, numbers: Mapping[str, float], condition: Condition, method: str, score: str) -> Cell:
        """A score over samples, or that the method failed."""
        if method in self.outcome.failed[condition] and self.outcome.failures(condition, method):
            return FAILED
        return numbers.get(f"test/{score}/{condition.named(method)}", math.nan)

    def _conditions_table(self) -> Table:
        """A row for each condition, method and score: median, mean and worst."""
        rows: list[tuple[Cell, ...]] = [
            (
                condition.kind,
                f"{condition.fraction:g}",
                method_label(method),
                score,
                float(len(values)),
                *self._reduced(condition, method, score, values),
            )
            for condition, method, score, values in self._columns()
        ]
        columns = ("Condition", "share of counts", "method", "score", "samples", *REDUCTIONS)
        return Table("conditions", "Every score under every condition.", columns, tuple(rows))

    def _reduced(self, condition: Condition, method: str, score: str, values: Tensor) -> list[Cell]:
        """Median, mean and worst, or that the method failed."""
        if self.outcome.failures(condition, method):
            return [FAILED] * len(REDUCTIONS)
        return [self._over(score, values, reduction) for reduction in REDUCTIONS]

    def _samples_table(self) -> Table:
        """A row for each sample, condition, method and score, from which all tables and plots can be made
        again.
        """
        rows: list[tuple[Cell, ...]] = [
            (str(sample), condition.kind, f"{condition.fraction:g}", method_label(method), score, value)
            for condition, method, score, values in self._columns()
            for sample, value in enumerate(values.double().tolist())
        ]
        columns = ("sample", "condition", "share", "method", "score", "value")
        return Table("samples", "Every sample, condition, method and score.", columns, tuple(rows))

    def write(self, folder: Path) -> dict[str, float]:
        """Write tables, figures, predictions and the page; returns the numbers."""
        numbers = self.numbers()
        tables = self.tables(numbers)
        files = [self._samples_table()]
        if self.outcome.attacks:
            files.append(attacked_samples_table(self.outcome))
        for table in [*tables, *files]:
            table.write(folder / "tables")
        arrays: dict[str, Any] = {n: p.float().numpy() for n, p in self.outcome.predictions.items()}
        with whole_file(folder / "predictions.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        page = folder / "report.html"
        write_report(page, self.title, self.statements(numbers), self.facts, tables, self.figures)
        return numbers
