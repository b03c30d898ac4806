"""Figures of merit of a classification: ROC area by class, confusion matrix, and how sure a share is."""

from __future__ import annotations

import torch
from scipy import stats
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_confusion_matrix

from hspi_learn.metrics.intervals import Interval


def one_against_rest_auc(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Area under the ROC curve of each class against all others, [class] float64.

    NaN where it is not defined: no sample is of the class, or every one is, or a probability is NaN.

    Args:
        probabilities: of each class, [sample, class]; any number that rises with it will do, within 0 to 1.
        classes: true class [sample], int64.
    """
    found = []
    for number, column in enumerate(probabilities.double().unbind(dim=1)):
        here = classes == number
        defined = bool(here.any()) and not bool(here.all()) and not bool(torch.isnan(column).any())
        found.append(float(binary_auroc(column, here.long())) if defined else torch.nan)
    return torch.tensor(found, dtype=torch.float64)


def confusion_matrix(predicted: Tensor, classes: Tensor, count: int) -> Tensor:
    """Numbers of samples by true class (row) and predicted class (column), [class, class] int64.

    Args:
        predicted: predicted class [sample], int64.
        classes: true class [sample], int64.
        count: number of classes.
    """
    return multiclass_confusion_matrix(predicted, classes, count).long()


def share_interval(right: Tensor, level: float = 0.95) -> Interval:
    """Share of samples that are right and its interval by Wilson (J. Am. Stat. Assoc. 22 (1927) 209).

    It keeps its coverage near 0 and 1 and for few samples, where Student's t does not.

    Args:
        right: [sample], 0 or 1, or bool.
        level: coverage of the interval.

    Returns:
        All NaN without samples.
    """
    if not len(right):
        return Interval(torch.nan, torch.nan, torch.nan)
    number, of = round(float(right.double().sum())), len(right)
    found = stats.binomtest(number, of).proportion_ci(level, method="wilson")
    return Interval(number / of, float(found.low), float(found.high))
