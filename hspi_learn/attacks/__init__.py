"""Worst cases within the noise: threat models for counts, attacks, and what they aim at."""

from hspi_learn.attacks.objectives import ImageError, Objective, RegionalActivity
from hspi_learn.attacks.pgd import Attacked, ProjectedGradient, RandomPerturbation
from hspi_learn.attacks.threat_models import PoissonBall, PoissonBox, ThreatModel, noise_sd

__all__ = [
    "Attacked",
    "ImageError",
    "Objective",
    "PoissonBall",
    "PoissonBox",
    "ProjectedGradient",
    "RandomPerturbation",
    "RegionalActivity",
    "ThreatModel",
    "noise_sd",
]
