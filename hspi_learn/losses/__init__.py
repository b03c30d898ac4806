"""Losses: their contract, and those against true activity, organs and counts, and of adversaries."""

from hspi_learn.losses.adversarial import (
    Game,
    HingeGame,
    LeastSquaresGame,
    RelativisticGame,
    WassersteinGame,
    feature_matching,
    gradient_ratio_weight,
    r1_penalty,
    squared_slopes,
)
from hspi_learn.losses.loss import FunctionLoss, Loss, TaskLoss, WeightedLosses
from hspi_learn.losses.physics import CountMismatch, PoissonDeviance, count_mismatch, poisson_deviance
from hspi_learn.losses.posterior import SampledL1, sampled_l1
from hspi_learn.losses.projections import ProjectionError, TargetDeviance
from hspi_learn.losses.segmentation import DiceCrossEntropy, dice_cross_entropy, multi_scale_l1
from hspi_learn.losses.voxel import RelativeError, relative_error

__all__ = [
    "CountMismatch",
    "DiceCrossEntropy",
    "FunctionLoss",
    "Game",
    "HingeGame",
    "LeastSquaresGame",
    "Loss",
    "PoissonDeviance",
    "ProjectionError",
    "RelativeError",
    "RelativisticGame",
    "SampledL1",
    "TargetDeviance",
    "TaskLoss",
    "WassersteinGame",
    "WeightedLosses",
    "count_mismatch",
    "dice_cross_entropy",
    "feature_matching",
    "gradient_ratio_weight",
    "multi_scale_l1",
    "poisson_deviance",
    "r1_penalty",
    "relative_error",
    "sampled_l1",
    "squared_slopes",
]
