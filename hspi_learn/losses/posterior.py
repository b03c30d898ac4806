"""The loss of networks that draw samples of the activity: their mean is to be right, and their spread too."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError
from hspi_learn.losses.loss import Loss
from hspi_learn.reconstructor import ScanBatch


class Samples(Protocol):
    """What the loss is told besides activity and batch."""

    samples: Tensor
    """Sampled activities [sample, batch, map, z, y, x] in Bq per voxel, two samples or more."""
    scale: Tensor
    """Unit in which errors are measured [batch, map, 1, 1, 1], in Bq per voxel."""
    weight: Tensor
    """Weight of each voxel in the error [batch, map, z, y, x]."""


class SampledL1(Loss):
    """Absolute error of the mean of P samples, less a reward for their standard deviation.

        L = |x - mean| - reward sqrt(2 / (pi P (P + 1))) SD,

        SD = sqrt(pi / (2 P (P - 1))) sum_p |x_p - mean|,

    per voxel, in units of ``scale``. For a normal posterior it is least, with ``reward`` 1, where the samples
    have its mean and its standard deviation. Source: Bendel, Ahmad and Schniter, NeurIPS 2023
    (arXiv:2210.13389), equations 6 to 9.

    Args:
        reward: of the standard deviation; below 1 the samples lie too close, at 0 they are all alike.
        weight: see :class:`~hspi_learn.losses.Loss`.
        from_step: see :class:`~hspi_learn.losses.Loss`.
        every: see :class:`~hspi_learn.losses.Loss`.

    Raises:
        UserError: the reward is negative, or as large that the loss has no least value.
    """

    def __init__(self, reward: float = 1.0, weight: float = 1.0, from_step: int = 0, every: int = 1) -> None:
        super().__init__(weight, from_step, every)
        if not 0 <= reward < MOST_REWARD:
            raise UserError(f"reward is {reward}; it needs to be 0 or more and below {MOST_REWARD:.3g}")
        self.reward = reward

    def forward(self, prediction: Tensor, batch: ScanBatch, view: Samples) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`; one number a scan."""
        unit = torch.where(view.scale > 0, view.scale, 1.0)
        return sampled_l1(view.samples / unit, batch.activity / unit, view.weight, self.reward)


MOST_REWARD = math.sqrt(3)
"""Reward at which the loss of two samples falls with their spread for ever."""


@in_full_precision
def sampled_l1(samples: Tensor, truth: Tensor, weight: Tensor, reward: float = 1.0) -> Tensor:
    """The loss of :class:`SampledL1`, one number a scan [batch].

    Args:
        samples: [sample, batch, map, z, y, x].
        truth: [batch, map, z, y, x], in the same unit.
        weight: of each voxel, 0 or more, [batch, map, z, y, x].
        reward: of the standard deviation.
    """
    number = len(samples)
    mean = samples.mean(dim=0)
    spread = math.sqrt(math.pi / (2 * number * (number - 1))) * (samples - mean).abs().sum(dim=0)
    share = reward * math.sqrt(2 / (math.pi * number * (number + 1)))
    cost = weight * ((truth - mean).abs() - share * spread)
    return cost.flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp_min(1.0)
