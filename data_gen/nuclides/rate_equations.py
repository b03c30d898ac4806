"""Solution of linear rate equations dN/dt = M N (rates in 1/s), exact even where half-lives span twelve
decades.

Method: doubling of a short Taylor step of exp(Mt) - 1 and of its integral (docs/physics.md, section 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TERMS = 14
"""Terms of the Taylor series, at steps of norm 1/4 or less; the first one left out is below 1e-20."""


def propagators(matrix: Tensor, duration_s: float) -> tuple[Tensor, Tensor]:
    """The change E = exp(M t) - 1 and the integral J = int_0^t exp(M s) ds.

    Atoms after the time t are N + E N, and their integral over it is J N. A short step is doubled until it
    spans t: E becomes 2 E + E E and J becomes 2 J + J E. Doubling E instead of exp(M t) keeps what a
    short step changes in the slow members, 1e-15 of them beside a member that lives for microseconds;
    ``torch.linalg.matrix_exp`` rounds that away, and is 4e-5 off after ten days.

    Args:
        matrix: M [state, state] in 1/s, float64.
        duration_s: t, 0 or more.

    Returns:
        E [state, state] and J [state, state] in s.
    """
    norm = float(matrix.abs().sum(0).max()) * duration_s
    doublings = max(0, math.ceil(math.log2(norm)) + 2) if norm > 0 else 0
    change, integral = _short_step(matrix, duration_s / 2.0**doublings)
    for _ in range(doublings):
        change, integral = 2 * change + change @ change, 2 * integral + integral @ change
    return change, integral


def _short_step(matrix: Tensor, step_s: float) -> tuple[Tensor, Tensor]:
    """E and J of one step by their Taylor series, E = sum (M h)^k / k! and J = h sum (M h)^k / (k + 1)!."""
    scaled = matrix * step_s
    integral = term = torch.eye(len(matrix), dtype=matrix.dtype)
    for order in range(1, _TERMS):
        term = term @ scaled / (order + 1)
        integral = integral + term
    return scaled @ integral, step_s * integral


def total_integral(matrix: Tensor, initial: Tensor, outflow: Tensor) -> Tensor:
    """What flows out over all time, k int_0^inf N dt [state], by one solve.

    Args:
        matrix: M [state, state] in 1/s; everything decays in the end.
        initial: N at time 0, [state].
        outflow: rate k of each state in 1/s, [state]; decay constants give decays.
    """
    # Unknowns are decays, not atoms: columns of like size keep the solve well-conditioned.
    total: Tensor = torch.linalg.solve(matrix / outflow, -initial)
    return total
