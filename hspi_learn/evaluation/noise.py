"""Relative bias and SD of regional activity over repeated Poisson noise on one mouse, dimensionless.

Metrics: ``hspi_learn/metrics/regions.py``, over voxels with 10 % or more of the maximum sensitivity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.event_sampling import draw_counts
from hspi_learn.classical import Osem
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.judge import Judge
from hspi_learn.metrics import bias_and_spread
from hspi_learn.reconstructor import Reconstructor


class Sweep(NamedTuple):
    """A method at one or more settings, whose images of the same counts may share work."""

    names: tuple[str, ...]
    """Label of each setting, written beside its point in the plot; may be empty."""
    images: Callable[[ReconstructionCase], Sequence[Tensor]]
    """Activity [batch, map, z, y, x] in Bq per voxel at each setting."""
    evaluated: int = 0
    """Index of the setting that the comparison uses."""

    @classmethod
    def of(cls, method: Reconstructor) -> Sweep:
        """A method as it is."""
        return cls(("",), lambda case: [case.reconstructed(method)])

    @classmethod
    def of_iterations(cls, osem: Osem, iterations: Iterable[int]) -> Sweep:
        """OSEM at its own and at other numbers of iterations, all from one reconstruction."""
        wanted = sorted({*iterations, osem.iterations})

        def images(case: ReconstructionCase) -> list[Tensor]:
            with torch.no_grad():
                return osem.reconstruct_at(wanted, case.batch.projections, case.context)

        return cls(tuple(str(n) for n in wanted), images, wanted.index(osem.iterations))


class NoisePoint(NamedTuple):
    """Bias and noise of a method at one setting."""

    name: str
    evaluated: bool
    bias: Tensor
    """Relative bias of the mean, [map, organ]."""
    sd: Tensor
    """Relative SD over realisations, [map, organ]."""


def noise_study(
    judge: Judge,
    methods: Mapping[str, Sweep],
    case: ReconstructionCase,
    realisations: int = 30,
    seed: int = 0,
) -> dict[str, list[NoisePoint]]:
    """Relative bias and SD, [map, organ], of each setting of each method.

    Args:
        judge: computes the regional means.
        methods: each at its settings, in the order of the result.
        case: one scan; its model draws the counts.
        realisations: Poisson draws from the truth's expected counts, two or more.
        seed: random seed of the draws.

    Raises:
        UserError: fewer than two realisations, or a case of several scans.
    """
    if realisations < 2 or len(case.batch.index) != 1:
        raise UserError(f"noise study has {realisations} realisations; it needs one scan and 2 or more")
    generator = torch.Generator().manual_seed(seed)
    expected = case.expected()
    draws = [case.with_values(draw_counts(expected, generator)) for _ in range(realisations)]
    truth = judge.regions(case.batch.activity, case)[0]
    return {name: _points(judge, sweep, draws, truth) for name, sweep in methods.items()}


def _points(
    judge: Judge, sweep: Sweep, draws: Sequence[ReconstructionCase], truth: Tensor
) -> list[NoisePoint]:
    """Bias and SD of regional means over the draws, at each setting."""
    means = [[judge.regions(image, case) for image in sweep.images(case)] for case in draws]
    return [
        NoisePoint(name, number == sweep.evaluated, *bias_and_spread(torch.cat(column), truth))
        for number, (name, column) in enumerate(zip(sweep.names, zip(*means, strict=True), strict=True))
    ]


def root_mean_square(values: Tensor) -> float:
    """Root mean square over the regions that have a value (not NaN)."""
    return float(values.square().nanmean().sqrt())
