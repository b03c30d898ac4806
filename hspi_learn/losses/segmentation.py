"""Losses of segmentations: Dice and cross entropy against the truth, and what SegAN's critic tells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.autograd import in_full_precision
from data_gen.core.errors import UserError
from hspi_learn.losses.loss import Loss


class MembershipView(Protocol):
    """What a task has to offer for losses of segmentations."""

    truth: Tensor
    """True membership of each class [batch, class, z, y, x], which sums to 1 over classes."""


class DiceCrossEntropy(Loss):
    """:func:`dice_cross_entropy` of probabilities [batch, class, z, y, x]; see :class:`Loss`.

    Args:
        weight: see :class:`Loss`.
        from_step: see :class:`Loss`.
        every: see :class:`Loss`.
        dice_weight: of the Dice loss in the sum.
        cross_entropy_weight: of the cross entropy.
        background: whether the background has a Dice loss too; the cross entropy counts every voxel.

    Raises:
        UserError: a weight is negative or infinite, or both are 0.
    """

    def __init__(
        self,
        weight: float = 1.0,
        from_step: int = 0,
        every: int = 1,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        background: bool = False,
    ) -> None:
        super().__init__(weight, from_step, every)
        for name, value in (("dice_weight", dice_weight), ("cross_entropy_weight", cross_entropy_weight)):
            if not 0 <= value < float("inf"):
                raise UserError(f"{name} is {value}; it needs to be 0 or more")
        if dice_weight == cross_entropy_weight == 0:
            raise UserError("dice_weight and cross_entropy_weight are both 0; one needs to be above 0")
        self.dice_weight, self.cross_entropy_weight = dice_weight, cross_entropy_weight
        self.background = background

    def forward(self, prediction: Tensor, batch: Any, view: MembershipView) -> Tensor:  # noqa: ARG002
        """See :meth:`Loss.forward`."""
        return dice_cross_entropy(
            prediction, view.truth, self.dice_weight, self.cross_entropy_weight, self.background
        )


@in_full_precision
def dice_cross_entropy(
    probabilities: Tensor,
    truth: Tensor,
    dice_weight: float = 1.0,
    cross_entropy_weight: float = 1.0,
    background: bool = False,
) -> Tensor:
    """Soft Dice loss (MONAI's), mean over classes, and cross entropy, mean over voxels, of each scan.

    Sources: Milletari et al., 3DV 2016; Isensee et al., Nature Methods 18 (2021) 203 for the sum.

    Args:
        probabilities: [batch, class, z, y, x], which sum to 1 over classes; class 0 is the background.
        truth: true membership of the same shape.
        dice_weight: of the Dice loss.
        cross_entropy_weight: of the cross entropy.
        background: whether the background has a Dice loss.

    Returns:
        [batch], without unit. A class that a scan does not have has a Dice loss of 1 as soon as any voxel is
        taken for it.
    """
    dice = _dice_loss(background)(probabilities, truth).flatten(1).mean(dim=1)
    logs = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    entropy = -(truth * logs).sum(dim=1).flatten(1).mean(dim=1)
    total: Tensor = dice_weight * dice + cross_entropy_weight * entropy
    return total


@cache
def _dice_loss(background: bool) -> nn.Module:
    """MONAI's soft Dice loss, one number a scan and class."""
    from monai.losses.dice import DiceLoss  # seconds to import, so only where it is used

    loss: nn.Module = DiceLoss(include_background=background, reduction="none")
    return loss


@in_full_precision
def multi_scale_l1(predicted: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a critic's features, mean over scales: SegAN's loss.

    Source: equation 2 of Xue et al., arXiv:1706.01805. The network lowers it and the critic raises it.

    Args:
        predicted: features [batch, feature, ...] of the image masked by the prediction, a tensor a scale.
        true: features of the image masked by the truth.
    """
    scales = [functional.l1_loss(a, b) for a, b in zip(predicted, true, strict=True)]
    return torch.stack(scales).mean()
