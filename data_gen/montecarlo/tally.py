"""Results of a Monte Carlo simulation, per decay, with their statistical errors.

Scores are sums of weights in cells (class of history, region, energy bin or line). Errors follow from the
variance between histories, or between batches for sums over cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.photons import CLASSES


@dataclass(frozen=True)
class Estimate:
    """A mean per decay, with the variance of that mean.

    The variance of a cell is exact, since all scores of one history in it are added first. For sums over
    cells use the error between batches.
    """

    mean: Tensor
    variance: Tensor

    @property
    def error(self) -> Tensor:
        """Standard error of each cell."""
        return self.variance.sqrt()


@dataclass(frozen=True)
class Batches:
    """Independent estimates of the same quantity; the first axis is the batch."""

    values: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean over batches."""
        return self.values.mean(dim=0)

    @property
    def error(self) -> Tensor:
        """Standard error of the mean."""
        error: Tensor = self.values.std(dim=0) / len(self.values) ** 0.5
        return error

    def summed(self, *dims: int) -> Batches:
        """Sums over axes (counted without the batch), which keeps their correlations."""
        return Batches(self.values.sum(dim=tuple(d + 1 for d in dims)))


@dataclass(frozen=True)
class Tally:
    """Results per decay; ``classes`` names the entries of the axis "class".

    Counts include the fraction of the scan that a pixel is in place (rotating cameras); interactions do not:
    they are per decay while it is in place.
    """

    classes: tuple[str, ...]
    photons: int
    """Photons emitted."""
    counts: Estimate
    """Recorded events near the first interaction, at most one per photon, [class, region, bin]."""
    interactions: Estimate
    """First interactions in the crystal, before charge collection, [class, region, line]."""
    spectrum: Batches
    """Recorded events of all regions, [batch, class, bin]."""
    linked: Batches
    """Further hits of the same photons: clusters beyond the 3x3 around the first interaction, and in raw mode
    all other pixels, [batch, class, bin].
    """
    arrivals: Batches
    """First interactions of all regions by the photon's energy at arrival, [batch, class, bin]."""
    totals: Batches
    """First interactions of all regions, [batch, class, line]."""


class CellScores:
    """Sums of weights and of their squares by history, in cells.

    Args:
        shape: of the cells.
        device: where they are stored.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.sum = torch.zeros(shape, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.sum)

    def add(self, index: tuple[Tensor, ...], history: Tensor, weight: Tensor) -> None:
        """Add weights [k] to cells (an index [k] for each axis), from histories [k]."""
        cell = torch.zeros_like(history)
        for size, number in zip(self.sum.shape, index, strict=True):
            cell = cell * size + number
        most = int(history.max()) + 1 if len(history) else 1
        key, row = torch.unique(cell * most + history, return_inverse=True)
        each = torch.zeros(len(key), dtype=weight.dtype, device=weight.device).index_add_(0, row, weight)
        self.sum.view(-1).index_add_(0, key // most, each)
        self.squares.view(-1).index_add_(0, key // most, each.square())

    def estimate(self, scale: float, histories: int) -> Estimate:
        """``scale`` times the mean score of a history, and its variance."""
        mean = self.sum / histories
        variance = (self.squares / histories - mean.square()).clamp_min(0) / histories
        return Estimate(scale * mean.cpu(), scale**2 * variance.cpu())


class Scores:
    """All scores of a simulation.

    Args:
        regions: region of each pixel.
        bins: number of energy bins.
        lines: number of lines.
        batches: number of batches.
    """

    def __init__(self, regions: Tensor, bins: int, lines: int, batches: int) -> None:
        self.regions, count, kinds = regions, int(regions.max()) + 1, len(CLASSES)
        device = regions.device
        self.counts = CellScores((kinds, count, bins), device)
        self.interactions = CellScores((kinds, count, lines), device)
        zeros = torch.zeros(batches, kinds, bins, dtype=torch.float64, device=device)
        self.spectrum, self.linked, self.arrivals = zeros, zeros.clone(), zeros.clone()
        self.totals = torch.zeros(batches, kinds, lines, dtype=torch.float64, device=device)

    def tally(self, scale: float, histories: int) -> Tally:
        """Everything per decay, for ``scale`` photons per decay."""
        batches = len(self.spectrum)
        each = scale * batches / histories
        return Tally(
            CLASSES,
            histories,
            self.counts.estimate(scale, histories),
            self.interactions.estimate(scale, histories),
            *(
                Batches(each * part.cpu())
                for part in (self.spectrum, self.linked, self.arrivals, self.totals)
            ),
        )
