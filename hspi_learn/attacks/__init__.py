"""Adversarial perturbations of inputs: threat models, objectives, attacks."""

from hspi_learn.attacks.objectives import (
    HideRegion,
    ImageError,
    InventRegion,
    Objective,
    OnPrediction,
    RegionalActivity,
    TaskError,
    UptakeError,
)
from hspi_learn.attacks.pgd import (
    Attack,
    Attacked,
    Goal,
    ProjectedGradient,
    RandomPerturbation,
    checked_finite,
)
from hspi_learn.attacks.threat_models import PoissonBall, PoissonBox, ThreatModel, check_space, noise_sd
from hspi_learn.networks import evaluation_mode

__all__ = [
    "Attack",
    "Attacked",
    "Goal",
    "HideRegion",
    "ImageError",
    "InventRegion",
    "Objective",
    "OnPrediction",
    "PoissonBall",
    "PoissonBox",
    "ProjectedGradient",
    "RandomPerturbation",
    "RegionalActivity",
    "TaskError",
    "ThreatModel",
    "UptakeError",
    "check_space",
    "checked_finite",
    "evaluation_mode",
    "noise_sd",
]
