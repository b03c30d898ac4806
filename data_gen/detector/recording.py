"""Deposited energy to recorded bins, for detectors that are known by their resolution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from data_gen.detector.deposits import Deposits

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
_STEP_KEV = 0.25

Blur = Callable[[Tensor, Tensor], Tensor]
"""Deposited energies [k] and bin edges [bin + 1] to the probability of each bin, [k, bin]."""


def record(left: Deposits, edges_kev: Tensor, blur: Blur) -> Tensor:
    """Probability that a photon is recorded in each bin, [line, bin]."""
    used = left.peak_probability.detach() > 0
    peaks = torch.zeros(*used.shape, len(edges_kev) - 1, dtype=torch.float64)
    peaks = peaks.index_put(
        used.nonzero(as_tuple=True),
        left.peak_probability[used][:, None] * blur(left.peak_kev[used], edges_kev),
    )
    grid_kev, on_grid = _on_grid(left.continuum_kev, left.continuum_probability)
    return peaks.sum(1) + on_grid @ blur(grid_kev, edges_kev)


def _on_grid(energy: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Spread probabilities [line, k] linearly over an even grid, so that one matrix product blurs all lines.

    The mean stays; the variance grows by at most (0.125 keV)^2, far below any resolution here.
    """
    count = int(float(energy.max()) / _STEP_KEV) + 2 if energy.numel() else 2
    place = energy / _STEP_KEV
    below = place.floor().to(torch.int64)
    above_share = place - below
    grid = torch.zeros(len(energy), count, dtype=torch.float64)
    grid = grid.scatter_add(1, below, probability * (1 - above_share))
    grid = grid.scatter_add(1, below + 1, probability * above_share)
    return torch.arange(count, dtype=torch.float64) * _STEP_KEV, grid


def gaussian_blur(energy_kev: Tensor, fwhm_kev: Tensor, edges_kev: Tensor) -> Tensor:
    """Probability of each bin for normal noise of this full width about each energy, [k, bin]."""
    scale = fwhm_kev[:, None] * (math.sqrt(2) / FWHM_PER_SIGMA)
    return 0.5 * torch.erf((edges_kev - energy_kev[:, None]) / scale).diff(dim=1)
