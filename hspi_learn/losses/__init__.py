"""Losses: their contract, and those of reconstructions against truth, counts and a discriminator."""

from hspi_learn.losses.adversarial import AdversarialKind, discriminator_loss, generator_loss
from hspi_learn.losses.loss import FunctionLoss, Loss, TaskLoss, WeightedLosses
from hspi_learn.losses.physics import CountMismatch, PoissonDeviance, count_mismatch, poisson_deviance
from hspi_learn.losses.voxel import RelativeError, relative_error

__all__ = [
    "AdversarialKind",
    "CountMismatch",
    "FunctionLoss",
    "Loss",
    "PoissonDeviance",
    "RelativeError",
    "TaskLoss",
    "WeightedLosses",
    "count_mismatch",
    "discriminator_loss",
    "generator_loss",
    "poisson_deviance",
    "relative_error",
]
