"""Decay and first-order exchange along paths in closed form, with 60 digits; uses no code of data_gen.

Source: Bateman, Proc. Camb. Phil. Soc. 15 (1910) 423. Rates in 1/s, times in s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import pairwise

_DIGITS = 60
"""Digits of the arithmetic. Terms cancel over as many decades as half-lives span; more than 30
digits remain.
"""


@dataclass(frozen=True)
class Network:
    """States that atoms pass through once each.

    Args:
        losses: total rate out of each state, 1/s; no two equal along a path.
        steps: rates from a state to others, 1/s.
    """

    losses: Mapping[str, float]
    steps: Mapping[str, Mapping[str, float]]

    def atoms(self, start: str, end: str, time_s: float) -> float:
        """Atoms in ``end`` for one atom in ``start`` at time 0: Bateman's solution, summed over paths."""
        with localcontext() as context:
            context.prec = _DIGITS
            return float(
                sum((self._along(path, Decimal(time_s)) for path in self._paths(start, end)), Decimal())
            )

    def _paths(self, start: str, end: str) -> Iterator[tuple[str, ...]]:
        if start == end:
            yield (start,)
            return
        for following in self.steps.get(start, {}):
            yield from ((start, *rest) for rest in self._paths(following, end))

    def _along(self, path: tuple[str, ...], time_s: Decimal) -> Decimal:
        """N_n = product of feeding rates x sum_i exp(-L_i t) / product_(j != i) (L_j - L_i)."""
        fed = Decimal(1)
        for state, following in pairwise(path):
            fed *= Decimal(self.steps[state][following])
        losses = [Decimal(self.losses[state]) for state in path]
        total = Decimal()
        for i, loss in enumerate(losses):
            product = Decimal(1)
            for j, other in enumerate(losses):
                if j != i:
                    product *= other - loss
            total += (-loss * time_s).exp() / product
        return fed * total
