"""The least of a function of a few parameters between bounds: by its gradient, and on a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.errors import UserError

Objective = Callable[[Tensor], Tensor]
"""From parameters [parameter], float64, to a scalar."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest value of each parameter, above 0; searches go by their logarithms.

    Raises:
        UserError: a range is empty, or not of positive finite numbers.
    """

    names: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, low, high in zip(self.names, self.lowest, self.highest, strict=True):
            if not 0 < low < high < math.inf:
                raise UserError(f"{name} is [{low:g}, {high:g}]; it needs 0 < lowest < highest")

    def at(self, share: Tensor) -> Tensor:
        """Parameters at shares [parameter] of their ranges, 0 lowest and 1 highest."""
        low, high = (torch.tensor(side, dtype=torch.float64) for side in (self.lowest, self.highest))
        return low * (high / low) ** share

    def shares(self, parameters: Sequence[float]) -> list[float]:
        """The transpose of :meth:`at`; parameters beyond the bounds are moved to them."""
        logs = zip(parameters, self.lowest, self.highest, strict=True)
        return [min(1.0, max(0.0, math.log(p / low) / math.log(high / low))) for p, low, high in logs]


@dataclass(frozen=True)
class Found:
    """What a search found, and what it took."""

    parameters: tuple[float, ...]
    value: float
    evaluations: int
    """Evaluations of the function; a search by gradient takes a gradient with each."""


def by_gradient(objective: Objective, bounds: Bounds, start: Sequence[float], most: int = 30) -> Found:
    """Follow the gradient from ``start`` (L-BFGS-B) until it gains less than 1e-4, or ``most`` evaluations."""
    from scipy.optimize import minimize  # slow to import

    best: list[tuple[float, tuple[float, ...]]] = []

    def value_and_slope(share: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        parameters = bounds.at(x)
        value = objective(parameters)
        (slope,) = torch.autograd.grad(value, x)
        best.append((float(value.detach()), tuple(parameters.tolist())))
        return best[-1][0], slope.numpy()

    options = {"maxfun": most, "ftol": 1e-4, "gtol": 1e-4}
    minimize(
        value_and_slope,
        bounds.shares(start),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(bounds.names),
        options=options,
    )
    value, parameters = min(best)
    return Found(parameters, value, len(best))


def by_grid(objective: Objective, bounds: Bounds, points: int) -> Found:
    """Try ``points`` values of every parameter, even in logarithm, both bounds included.

    Raises:
        UserError: fewer than two points.
    """
    if points < 2:
        raise UserError(f"grid_points is {points}; it needs 2 or more")
    steps = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    tried: list[tuple[float, tuple[float, ...]]] = []
    with torch.no_grad():
        for share in itertools.product(steps, repeat=len(bounds.names)):
            parameters = bounds.at(torch.tensor(share, dtype=torch.float64))
            tried.append((float(objective(parameters)), tuple(parameters.tolist())))
    value, parameters_found = min(tried)
    return Found(parameters_found, value, len(tried))
