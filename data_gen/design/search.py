"""Minimum of a function of a few bounded parameters: by its gradient (L-BFGS-B), and on a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.core.errors import UserError

_WALL = 1e9
"""Value assigned where the function or its gradient is not finite."""

_FIRST_STEP = 0.25
"""Length of the first step of a gradient search, as a fraction of the ranges."""

Objective = Callable[[Tensor], Tensor]
"""From parameters [parameter], float64, to a scalar."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value of each parameter, above 0; searches run in their logarithms.

    Raises:
        UserError: a range is empty, or not of positive finite numbers.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        for name, (low, high) in zip(self.names, self.ranges, strict=True):
            if not 0 < low < high < math.inf:
                raise UserError(f"{name} is [{low:g}, {high:g}]; it needs 0 < lowest < highest")

    def at(self, share: Tensor) -> Tensor:
        """Parameters at fractions [parameter] of their logarithmic ranges, 0 at the lowest and 1 at the
        highest.
        """
        low, high = torch.tensor(self.ranges, dtype=torch.float64).unbind(dim=1)
        return low * (high / low) ** share

    def shares(self, parameters: Sequence[float]) -> list[float]:
        """The inverse of :meth:`at`; parameters beyond the bounds are moved to them."""
        return [
            min(1.0, max(0.0, math.log(p / low) / math.log(high / low)))
            for p, (low, high) in zip(parameters, self.ranges, strict=True)
        ]


@dataclass(frozen=True)
class Trial:
    """One evaluation of the function; trials compare by their value."""

    value: float
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class Search:
    """All evaluations of a search, in order; a gradient search computed the gradient at each."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The smallest value found."""
        return min(self.trials, key=lambda trial: trial.value)


def by_gradient(objective: Objective, bounds: Bounds, start: Sequence[float], most: int = 15) -> Search:
    """Follow the gradient from ``start`` (L-BFGS-B) until it no longer descends, or after ``most``
    evaluations.

    Raises:
        UserError: no evaluation is allowed, or the function is not finite at the start.
    """
    from scipy.optimize import minimize  # slow to import

    if most < 1:
        raise UserError(f"most_evaluations is {most}; it needs 1 or more")
    trials: list[Trial] = []
    scale: list[float] = []  # set by the first slope: the library's first step is a slope long

    class SpentError(Exception):
        """All evaluations are used; the library itself looks only after each line search."""

    def value_and_slope(share: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if len(trials) == most:
            raise SpentError
        x = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        parameters = bounds.at(x)
        value = objective(parameters)
        (slope,) = torch.autograd.grad(value, x)
        if not (bool(value.isfinite()) and bool(slope.isfinite().all())):
            return _WALL, np.zeros_like(share)
        trials.append(Trial(float(value.detach()), tuple(parameters.tolist())))
        if len(trials) == 1:
            scale.append(_FIRST_STEP / max(float(slope.norm()), 1e-12))
        return scale[0] * trials[-1].value, scale[0] * slope.numpy()

    with suppress(SpentError):
        minimize(
            value_and_slope,
            bounds.shares(start),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(bounds.names),
            options={"ftol": 1e-7, "gtol": 1e-7},
        )
    if not trials:
        raise UserError(f"the objective is not finite at {list(start)}; the search needs another start")
    return Search(tuple(trials))


def by_grid(objective: Objective, bounds: Bounds, points: int) -> Search:
    """Evaluate ``points`` values of every parameter, evenly spaced in logarithm, both bounds included.

    Raises:
        UserError: fewer than two points.
    """
    if points < 2:
        raise UserError(f"grid_points is {points}; it needs 2 or more")
    steps = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    trials: list[Trial] = []
    with torch.no_grad():
        for share in itertools.product(steps, repeat=len(bounds.names)):
            parameters = bounds.at(torch.tensor(share, dtype=torch.float64))
            trials.append(Trial(float(objective(parameters)), tuple(parameters.tolist())))
    return Search(tuple(trials))
