"""The evaluation of classifications: accuracy with its interval, ROC areas, confusion matrix, worst class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.data import ScanDataModule
from hspi_learn.evaluation.case import TaskCase
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.protocols import TaskScores
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Conditions
from hspi_learn.evaluation.tables import FAILED, Cell, Table
from hspi_learn.evaluation.task_report import SampleScores, TaskReport
from hspi_learn.metrics import confusion_matrix, one_against_rest_auc, share_interval
from hspi_learn.tasks import Classification, Task
from hspi_learn.tasks.classification import check_classes
from hspi_learn.visual import confusion_figure, method_label

NOT_DEFINED = "not defined"
"""Of a class that no test sample, or every one, is of."""


class ClassifiedSamples(SampleScores):
    """Scores of samples, and the probabilities and classes that they come from.

    Args:
        scores: by name, each [sample].
        probabilities: of each class, [sample, class].
        classes: true class [sample], int64.
        names: of the classes.
    """

    def __init__(
        self, scores: Mapping[str, Tensor], probabilities: Tensor, classes: Tensor, names: tuple[str, ...]
    ) -> None:
        super().__init__(scores)
        self.probabilities, self.classes, self.names = probabilities, classes, names

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> ClassifiedSamples:
        """Those of several batches as one."""
        scores = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        probabilities = torch.cat([part.probabilities for part in parts])
        classes = torch.cat([part.classes for part in parts])
        return cls(scores, probabilities, classes, parts[0].names)

    def of_first(self, samples: int) -> ClassifiedSamples:
        """Those of the first so many samples."""
        scores = {name: values[:samples] for name, values in self.items()}
        return ClassifiedSamples(scores, self.probabilities[:samples], self.classes[:samples], self.names)

    @property
    def right(self) -> Tensor:
        """Samples whose most likely class is the true one [sample], bool."""
        return self.probabilities.argmax(dim=1) == self.classes

    @property
    def confusion(self) -> Tensor:
        """Numbers of samples by true (row) and predicted class, [class, class] int64."""
        return confusion_matrix(self.probabilities.argmax(dim=1), self.classes, len(self.names))

    @property
    def recalls(self) -> Tensor:
        """Share of the samples of each class that were told right, [class] float64; NaN without any."""
        matrix = self.confusion.double()
        return matrix.diagonal() / matrix.sum(dim=1)

    @property
    def worst(self) -> int:
        """The class of which the smallest share was told right."""
        return int(self.recalls.nan_to_num(nan=torch.inf).argmin())

    @property
    def areas(self) -> Tensor:
        """Area under the ROC curve of each class against all others, [class]; NaN where not defined."""
        return one_against_rest_auc(self.probabilities, self.classes)


@dataclass(frozen=True)
class ClassificationReport(TaskReport):
    """What the evaluation of a classification found; scores are :class:`ClassifiedSamples`."""

    def numbers(self) -> dict[str, float]:
        """As of any task, and for each method, level and attack that did not fail:

        ``test/accuracy/METHOD/low`` and ``/high`` (95 %, Wilson), ``test/recall_CLASS`` (share of the class
        told right), ``test/worst_recall``, ``test/auc_CLASS`` (one against the rest) and ``test/macro_auc``
        (mean over the classes that have one), ``test/confusion/METHOD/TRUE/PREDICTED``.
        ``test/majority_accuracy`` is that of always saying the most frequent class. What is not defined is
        left out.
        """
        found = super().numbers()
        samples: ClassifiedSamples = next(iter(self.outcome.scores[FULL].values()))
        found["test/majority_accuracy"] = float(samples.confusion.sum(dim=1).max()) / len(samples.classes)
        for condition, method, samples in self._classified():
            at, name = condition.level, condition.named(method)
            interval = share_interval(samples.right)
            found |= {
                f"test/accuracy{at}/{name}/low": interval.low,
                f"test/accuracy{at}/{name}/high": interval.high,
                f"test/worst_recall{at}/{name}": float(samples.recalls[samples.worst]),
                f"test/macro_auc{at}/{name}": float(samples.areas.nanmean()),
            }
            by_class = zip(samples.names, samples.recalls, samples.areas, samples.confusion, strict=True)
            for of_class, recall, area, row in by_class:
                found[f"test/recall_{of_class}{at}/{name}"] = float(recall)
                found[f"test/auc_{of_class}{at}/{name}"] = float(area)
                for predicted, number in zip(samples.names, row.tolist(), strict=True):
                    found[f"test/confusion{at}/{name}/{of_class}/{predicted}"] = float(number)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _classified(self) -> Iterator[tuple[Condition, str, ClassifiedSamples]]:
        """Condition, method and what it made of the samples, where it did not fail."""
        for condition, by_method in self.outcome.scores.items():
            for method, samples in by_method.items():
                if not self.outcome.failures(condition, method):
                    yield condition, method, samples

    def tables(self, numbers: Mapping[str, float]) -> list[Table]:
        """Accuracy, classes and confusion first, then what any task has."""
        return [
            self._accuracy_table(numbers),
            self._classes_table(),
            self._confusion_table(),
            *super().tables(numbers),
        ]

    def _accuracy_table(self, numbers: Mapping[str, float]) -> Table:
        """A row for each method and condition: accuracy with its interval, macro AUC, worst class."""
        rows: list[tuple[Cell, ...]] = []
        for condition, by_method in self.outcome.scores.items():
            for method, samples in by_method.items():
                cells: tuple[Cell, ...] = (FAILED,) * 5
                if not self.outcome.failures(condition, method):
                    worst = samples.worst
                    area = float(samples.areas.nanmean())
                    cells = (
                        *share_interval(samples.right),
                        NOT_DEFINED if math.isnan(area) else area,
                        f"{samples.names[worst]} ({float(samples.recalls[worst]):.2f})",
                    )
                named = (method_label(method), condition.kind, f"{condition.fraction:g}")
                rows.append((*named, float(len(samples.classes)), *cells))
        columns = ("Method", "condition", "share of counts", "scans", "accuracy", "low", "high")
        majority = numbers["test/majority_accuracy"]
        caption = (
            "Share of scans whose class is told right, with its 95 % interval (Wilson); always saying the "
            f"most frequent class gives {majority:.3g}. Macro AUC: area under the ROC curve, one class "
            "against the rest, mean over classes. Worst class: the smallest share of it is told right."
        )
        return Table("accuracy", caption, (*columns, "macro AUC", "worst class"), tuple(rows))

    def _classes_table(self) -> Table:
        """A row for each method, condition and class."""
        rows: list[tuple[Cell, ...]] = []
        for condition, method, samples in self._classified():
            of_class = zip(
                samples.names, samples.confusion.sum(1), samples.recalls, samples.areas, strict=True
            )
            rows += [
                (
                    method_label(method),
                    condition.kind,
                    f"{condition.fraction:g}",
                    name,
                    float(number),
                    *(NOT_DEFINED if math.isnan(value) else value for value in (float(recall), float(area))),
                )
                for name, number, recall, area in of_class
            ]
        columns = ("Method", "condition", "share of counts", "class", "scans", "told right", "AUC")
        caption = "Each class: scans of it, the share told right, and its area under the ROC curve."
        return Table("classes", caption, columns, tuple(rows))

    def _confusion_table(self) -> Table:
        """A row for each method, condition and true class: numbers of scans by predicted class."""
        rows: list[tuple[Cell, ...]] = []
        names: tuple[str, ...] = ()
        for condition, method, samples in self._classified():
            names = samples.names
            rows += [
                (method_label(method), condition.kind, f"{condition.fraction:g}", name, *map(float, row))
                for name, row in zip(names, samples.confusion.tolist(), strict=True)
            ]
        columns = ("Method", "condition", "share of counts", "true class", *names)
        return Table("confusion", "Numbers of scans by true and by predicted class.", columns, tuple(rows))

    def write(self, folder: Path) -> dict[str, float]:
        """See :class:`TaskReport`, with a picture of each method's confusion, clean and attacked."""
        shown = dict(self.figures)
        for condition, method, samples in self._classified():
            if condition.fraction == 1:
                name, kind = condition.named(method), "" if condition.kind == CLEAN else f", {condition.kind}"
                title = f"{method_label(method)}{kind}"
                picture = confusion_figure(samples.confusion.numpy(), samples.names, title)
                shown[f"{name}_confusion"] = CaptionedFigure(
                    picture, f"Test scans by true and predicted class, {title}."
                )
        return TaskReport.write(replace(self, figures=shown), folder)


class ClassificationScores(TaskScores):
    """Classifications by accuracy, ROC areas, confusion and worst class, beside the task's scores.

    Args:
        runs: trained classifications by name, one or more, of the same classes.
        data: test scans.
        conditions: how they are shown.

    Raises:
        UserError: see :class:`TaskScores`; a run is no classification or has other classes than another, or
            all test scans are of one class.
    """

    report: ClassVar[type[TaskReport]] = ClassificationReport

    def __init__(self, runs: Mapping[str, Task], data: ScanDataModule, conditions: Conditions) -> None:
        super().__init__(runs, data, conditions)
        told = {}
        for name, run in runs.items():
            if not isinstance(run, Classification):
                raise UserError(
                    f"runs.{name} is a {type(run).__name__}; this protocol needs a Classification"
                )
            told[name] = run.classes.names
            self.classes = run.classes
        if len(set(told.values())) > 1:
            raise UserError(f"runs tell other classes apart ({told}); compare those of the same")

    def evaluate(self, calls: Any) -> TaskReport:
        """See :class:`TaskScores`.

        Raises:
            UserError: all test scans are of one class.
        """
        check_classes(self.classes, self.data.windowed("test"), "test")
        return super().evaluate(calls)

    def judged(self, prediction: Tensor, seen: TaskCase) -> ClassifiedSamples:
        """Scores of a prediction, with its probabilities and the true classes."""
        scores = self.task.scores(prediction, seen.batch)
        classes = self.classes.of(seen.batch).cpu()
        return ClassifiedSamples(scores, prediction.softmax(dim=1).cpu(), classes, self.classes.names)
