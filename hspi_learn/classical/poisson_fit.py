"""Poisson maximum likelihood of how much of each known part there is in counts, each 0 or more.

With expected counts n_j = sum_k s_k a_kj + d_j, the scales s maximise

    L(s) = sum_j y_j log n_j - sum_k s_k c_k,    c_k = sum_j a_kj,

so that only measurements with a count and the sums c are needed: a histogram and its events are one to it.
Source of the likelihood: Shepp and Vardi, IEEE Trans. Med. Imaging 1 (1982) 113; of intervals by the profile
likelihood: Venzon and Moolgavkar, J. R. Stat. Soc. C 37 (1988) 87.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import brentq, nnls
from scipy.stats import chi2

Array = NDArray[np.float64]

TOLERANCE = 1e-8
"""A maximum is reached where no scale would move by more, in units of its SD when all others are held."""
MOST_STEPS = 100
EM_STEPS = 20
"""Steps of EM that come before Newton's, which need to begin near the maximum."""
NEAR = 1e-6
"""Steps of Newton's method whose gain in L is less are taken whole; rounding hides whether they gain."""
RIDGE = 1e-12
"""Added to the curvature over its diagonal, so that parts that are alike have one too."""


class Maximum(NamedTuple):
    """Where the likelihood is highest."""

    scales: Array
    """[k], 0 or more."""
    value: float
    """L there."""
    converged: bool
    """Whether :data:`TOLERANCE` was reached."""


@dataclass(frozen=True)
class PoissonFit:
    """Counts and the parts that they are to be explained by.

    Args:
        parts: expected counts of each part at scale 1 in the measurements with a count, [k, row].
        known: expected counts that are known, [row].
        counts: [row], above 0; they need not be whole numbers.
        totals: expected counts of each part over all measurements, [k], above 0.
    """

    parts: Array
    known: Array
    counts: Array
    totals: Array

    def maximum(self, start: Array | None = None) -> Maximum:
        """The maximum, by EM and then Newton's method under the bounds; scipy's NNLS finds each step.

        Args:
            start: scales near the maximum, [k]; None begins anywhere.
        """
        # In units of each part's counts all scales are alike.
        fit = replace(self, parts=self.parts / self.totals[:, None], totals=np.ones_like(self.totals))
        begun = None if start is None else fit._em(start * self.totals, 2)
        if begun is None or not math.isfinite(fit.likelihood(begun)):
            parts = len(self.totals)
            begun = fit._em(np.full(parts, self.counts.sum() / max(parts, 1)), EM_STEPS)
        found = fit._newton(begun)
        return found._replace(scales=found.scales / self.totals)

    def likelihood(self, scales: Array) -> float:
        """L, minus infinity where a count cannot have come about."""
        expected = scales @ self.parts + self.known
        if not bool((expected > 0).all()):
            return -math.inf
        return float(self.counts @ np.log(expected) - scales @ self.totals)

    def slope(self, scales: Array) -> Array:
        """Derivative of L by each scale, [k]."""
        slope: Array = self.parts @ (self.counts / (scales @ self.parts + self.known)) - self.totals
        return slope

    def _em(self, scales: Array, steps: int) -> Array:
        """Scales after some steps of EM; parts have sums of 1."""
        for _ in range(steps):
            expected = scales @ self.parts + self.known
            possible = np.where(expected > 0, expected, np.inf)
            scales = scales * (self.parts @ (self.counts / possible))
        return scales

    def _newton(self, scales: Array) -> Maximum:
        """The maximum from scales near it; parts have sums of 1."""
        value = self.likelihood(scales)
        for _ in range(MOST_STEPS):
            if not math.isfinite(value):
                break
            slope, curvature = self.slope(scales), self._curvature(scales)
            own = curvature.diagonal()
            pulled = np.maximum(scales + slope / own, 0)
            if float((np.abs(pulled - scales) * np.sqrt(own)).max(initial=0)) <= TOLERANCE:
                return Maximum(np.where(pulled > 0, scales, 0.0), value, True)
            step = _bounded_newton(scales, slope, curvature) - scales
            share, gain = 1.0, float(slope @ step)
            reached = self.likelihood(scales + step)
            while gain > NEAR and reached < value + 1e-4 * share * gain and share > 1e-12:
                share /= 2
                reached = self.likelihood(scales + share * step)
            scales, value = np.maximum(scales + share * step, 0), reached
        return Maximum(scales, value, False)

    def _curvature(self, scales: Array) -> Array:
        """Minus the second derivative of L, [k, k], no diagonal element 0."""
        weighted = self.parts * (np.sqrt(self.counts) / (scales @ self.parts + self.known))
        curvature: Array = weighted @ weighted.T
        # Parts whose sum is 1 have no less unless no count is where they are.
        least = 1e-3 / (self.counts.sum() + 1)
        curvature[np.diag_indices_from(curvature)] = np.maximum(curvature.diagonal(), least) * (1 + RIDGE)
        return curvature

    def profile_interval(self, part: int, best: Maximum, step: float, level: float) -> tuple[float, float]:
        """Scales of a part that the counts do not speak against, whatever the others are: the ends at which
        twice the loss of likelihood, maximised over all others, is the quantile of chi2 with one degree of
        freedom.

        At 0 the lower end is 0, and the interval covers with up to half of (1 - level) more.

        Args:
            part: its number.
            best: the maximum.
            step: about how far the ends lie from the maximum, above 0.
            level: chance to cover, 0.9 say.
        """
        wanted, here = math.sqrt(chi2.ppf(level, 1)), float(best.scales[part])
        others = replace(self, parts=np.delete(self.parts, part, axis=0), totals=np.delete(self.totals, part))
        start = np.delete(best.scales, part)

        def lacking(scale: float) -> float:
            """How far the likelihood ratio at a scale is from the wanted one; about linear in the scale."""
            known = self.known + scale * self.parts[part]
            found = replace(others, known=known).maximum(start)
            lost = best.value - (found.value - scale * self.totals[part])
            return min(math.sqrt(max(2 * lost, 0.0)), 1e3) - wanted

        low, high = 0.0, here + step
        if here > 0 and lacking(0.0) > 0:
            low = _root(lacking, 0.0, here, 1e-4 * step)
        while lacking(high) < 0:
            high = here + 2 * (high - here)
            if not math.isfinite(high):
                return low, math.inf
        return low, _root(lacking, here, high, 1e-4 * step)


def _root(function: Any, low: float, high: float, tolerance: float) -> float:
    """Where a function that changes sign between two places is 0."""
    return float(brentq(function, low, high, xtol=min(tolerance, 1e-4 * high), rtol=1e-9))


def _bounded_newton(scales: Array, slope: Array, curvature: Array) -> Array:
    """Where a parabola with this slope and curvature is highest among scales of 0 or more."""
    factor = np.linalg.cholesky(curvature).T
    wanted = solve_triangular(factor, slope + curvature @ scales, trans="T")
    found: Array = nnls(factor, wanted)[0]
    return found
