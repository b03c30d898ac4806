"""Losses between the measured counts and those that the forward model expects of an estimated activity."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.autograd import in_full_precision
from hspi_learn.losses.loss import Loss
from hspi_learn.reconstructor import ScanBatch


class CountsView(Protocol):
    """What a task has to offer for losses against the counts."""

    step: int
    """Updates done."""

    def expected_counts(self, activity: Tensor, batch: ScanBatch, scan: int) -> Tensor:
        """Counts [1, pixel, window] that an activity [batch, map, z, y, x] makes expected in one scan."""


class _AgainstCounts(Loss):
    """A loss between measured and expected counts, of one scan of the batch in turn.

    Projecting is the dearest part of an update, so each evaluation takes one scan. See :class:`Loss`.
    """

    def between(self, expected: Tensor, counts: Tensor) -> Tensor:
        """The loss of expected counts [1, pixel, window] against those measured."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, batch: ScanBatch, view: CountsView) -> Tensor:
        """See :meth:`Loss.forward`; ``prediction`` is an activity [batch, map, z, y, x] in Bq per voxel."""
        scan = view.step // self.every % len(prediction)
        expected = view.expected_counts(prediction, batch, scan)
        return self.between(expected, batch.projections[scan : scan + 1])


class PoissonDeviance(_AgainstCounts):
    """:func:`poisson_deviance` of the counts that an estimate makes expected; see :class:`Loss`."""

    def between(self, expected: Tensor, counts: Tensor) -> Tensor:
        """See :func:`poisson_deviance`."""
        return poisson_deviance(expected, counts)


class CountMismatch(_AgainstCounts):
    """:func:`count_mismatch` of the counts that an estimate makes expected; see :class:`Loss`."""

    def between(self, expected: Tensor, counts: Tensor) -> Tensor:
        """See :func:`count_mismatch`."""
        return count_mismatch(expected, counts)


@in_full_precision
def poisson_deviance(expected: Tensor, counts: Tensor) -> Tensor:
    """Poisson deviance per count, mean over the batch: 2 sum(e - n + n ln(n / e)) / sum(n).

    Its gradient at the true activity is zero in expectation over the counts. A pixel that recorded an event
    where none is expected costs much but not infinitely: expectations are held above 1e-3 of their mean
    (chosen, no source).

    Args:
        expected: expected counts [batch, pixel, window], background included.
        counts: measured counts of the same shape.
    """
    floor = 1e-3 * expected.detach().mean(dim=(1, 2), keepdim=True) + torch.finfo(expected.dtype).tiny
    held = torch.maximum(expected, floor)
    # Not n ln(n / e): its gradient is 0 / 0 in the bins without counts.
    log_ratio = torch.xlogy(counts, counts) - counts * held.log()
    deviance = 2 * (expected - counts + log_ratio).sum(dim=(1, 2))
    return (deviance / counts.sum(dim=(1, 2)).clamp_min(1.0)).mean()


@in_full_precision
def count_mismatch(expected: Tensor, counts: Tensor) -> Tensor:
    """Squared relative error of the counts in each window over all pixels, windows weighted by their counts.

    Sum over windows of (E_w - N_w)^2 / (N_w + 1), over the scan's counts; mean over the batch.
    """
    expected, counts = expected.sum(dim=1), counts.sum(dim=1)
    chi_square = ((expected - counts).square() / (counts + 1)).sum(dim=1)
    return (chi_square / counts.sum(dim=1).clamp_min(1.0)).mean()
