"""Bias and spread of regional activity over repeated noise on one mouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.acquisition import draw_counts
from data_gen.errors import UserError
from data_gen.forward import HyperspectralForwardModel
from hspi_learn.evaluation.case import Case
from hspi_learn.evaluation.judge import Judge
from hspi_learn.metrics import BiasAndSpread, bias_and_spread
from hspi_learn.reconstructor import Reconstructor


class Setting(NamedTuple):
    """A method at one of its settings."""

    name: str
    """Written beside its point in a figure; may be empty."""
    method: Reconstructor
    evaluated: bool = True
    """Whether this is the setting that the comparison uses."""


class NoisePoint(NamedTuple):
    """What a setting does with noise."""

    name: str
    evaluated: bool
    bias: Tensor
    """Relative bias of the mean, [map, organ]."""
    sd: Tensor
    """Relative SD over realisations, [map, organ]."""


def noise_study(
    model: HyperspectralForwardModel,
    judge: Judge,
    methods: Mapping[str, Sequence[Setting]],
    case: Case,
    realisations: int = 30,
    seed: int = 0,
) -> dict[str, list[NoisePoint]]:
    """Relative bias and SD, [map, organ], of each setting of each method.

    Args:
        model: draws the counts, and is what the methods were made with.
        judge: takes the regional means.
        methods: settings of each method, in the order of the result.
        case: one scan.
        realisations: Poisson draws from the truth's expected counts, two or more.
        seed: of the draws.

    Raises:
        UserError: fewer than two realisations, or a case of several scans.
    """
    if realisations < 2 or len(case.scans.index) != 1:
        raise UserError(f"noise study has {realisations} realisations; it needs one scan and 2 or more")
    generator = torch.Generator().manual_seed(seed)
    expected = case.expected(model)
    draws = [case.with_counts(draw_counts(expected, generator)) for _ in range(realisations)]
    truth = judge.regions(case.scans.activity, case)[0]
    return {
        name: [NoisePoint(s.name, s.evaluated, *_spread(judge, s.method, draws, truth)) for s in settings]
        for name, settings in methods.items()
    }


def _spread(judge: Judge, method: Reconstructor, draws: Sequence[Case], truth: Tensor) -> BiasAndSpread:
    """Bias and SD of regional means over the draws."""
    return bias_and_spread(
        torch.cat([judge.regions(case.reconstructed(method), case) for case in draws]), truth
    )


def root_mean_square(values: Tensor) -> float:
    """Over the regions that have a value."""
    return float(values.square().nanmean().sqrt())
