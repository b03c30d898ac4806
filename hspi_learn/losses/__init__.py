"""Losses of reconstructions: against the truth, against the counts, and against a discriminator."""

from hspi_learn.losses.adversarial import AdversarialKind, discriminator_loss, generator_loss
from hspi_learn.losses.physics import count_mismatch, poisson_deviance
from hspi_learn.losses.voxel import relative_error

__all__ = [
    "AdversarialKind",
    "count_mismatch",
    "discriminator_loss",
    "generator_loss",
    "poisson_deviance",
    "relative_error",
]
