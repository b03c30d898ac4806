"""Losses: their contract, and those against true activity, organs and counts, and of adversaries."""

from hspi_learn.losses.adversarial import AdversarialKind, discriminator_loss, generator_loss
from hspi_learn.losses.loss import FunctionLoss, Loss, TaskLoss, WeightedLosses
from hspi_learn.losses.physics import CountMismatch, PoissonDeviance, count_mismatch, poisson_deviance
from hspi_learn.losses.projections import ProjectionError, TargetDeviance
from hspi_learn.losses.segmentation import DiceCrossEntropy, dice_cross_entropy, multi_scale_l1
from hspi_learn.losses.voxel import RelativeError, relative_error

__all__ = [
    "AdversarialKind",
    "CountMismatch",
    "DiceCrossEntropy",
    "FunctionLoss",
    "Loss",
    "PoissonDeviance",
    "ProjectionError",
    "RelativeError",
    "TargetDeviance",
    "TaskLoss",
    "WeightedLosses",
    "count_mismatch",
    "dice_cross_entropy",
    "discriminator_loss",
    "generator_loss",
    "multi_scale_l1",
    "poisson_deviance",
    "relative_error",
]
