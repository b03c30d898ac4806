"""Losses of denoised projections against target counts: noise-free, or another part of those measured."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from hspi_learn.losses.loss import Loss
from hspi_learn.losses.physics import poisson_deviance
from hspi_learn.metrics import count_weighted, projection_nrmse


class TargetView(Protocol):
    """What a task has to offer for losses against target counts."""

    target: Tensor
    """Counts that are expected, or an independent part of the measured ones [batch, pixel, window]."""
    share: Tensor
    """Share of the scan's counts that the target holds [batch, 1, 1]."""


class ProjectionError(Loss):
    """NRMSE in each window, mean weighted by counts; for noise-free targets alone. See :class:`Loss`."""

    def forward(self, prediction: Tensor, batch: Any, view: TargetView) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`; ``prediction`` is counts [batch, pixel, window] of whole scans."""
        return count_weighted(projection_nrmse(view.share * prediction, view.target), view.target)


class TargetDeviance(Loss):
    """:func:`poisson_deviance` of the target; least where the prediction is its mean. See :class:`Loss`."""

    def forward(self, prediction: Tensor, batch: Any, view: TargetView) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`; ``prediction`` is counts [batch, pixel, window] of whole scans."""
        return poisson_deviance(view.share * prediction, view.target)
