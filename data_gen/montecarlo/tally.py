"""What a run counts, with its statistical error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.photons import CLASSES


@dataclass(frozen=True)
class Estimate:
    """A mean per decay, with the variance that it has as an estimate.

    The variance of a cell is exact in that all scores of one history in it are taken together. Of sums over
    cells take the error from batches.
    """

    mean: Tensor
    variance: Tensor

    @property
    def error(self) -> Tensor:
        """Standard error of each cell."""
        return self.variance.sqrt()


@dataclass(frozen=True)
class Batches:
    """Independent estimates of the same thing, first axis the batch."""

    values: Tensor

    @property
    def mean(self) -> Tensor:
        """Their mean."""
        return self.values.mean(dim=0)

    @property
    def error(self) -> Tensor:
        """Standard error of the mean."""
        error: Tensor = self.values.std(dim=0) / len(self.values) ** 0.5
        return error

    def summed(self, *dims: int) -> Batches:
        """Sums over axes (counted without the batch), correlations in them kept."""
        return Batches(self.values.sum(dim=tuple(d + 1 for d in dims)))


@dataclass(frozen=True)
class Tally:
    """Results per decay. ``classes`` names the histories that the axis "class" tells apart.

    Counts hold the share of the scan that a pixel looks (rotating cameras); interactions do not: they are
    per decay while the pixel looks.
    """

    classes: tuple[str, ...]
    photons: int
    """Photons emitted."""
    counts: Estimate
    """Recorded events near the first interaction, at most one a photon, [class, region, bin]."""
    interactions: Estimate
    """First interactions in the crystal, before any charge physics, [class, region, line]."""
    spectrum: Batches
    """Recorded events of all regions, [batch, class, bin]."""
    linked: Batches
    """Hits of the same photons beside their events: clusters beyond the 3x3 around the first interaction,
    and in raw mode all further pixels, [batch, class, bin]."""
    arrivals: Batches
    """First interactions of all regions by the energy that photons arrive with, [batch, class, bin]."""
    totals: Batches
    """First interactions of all regions, [batch, class, line]."""


class Scores:
    """Weighted scores in cells, gathered in one go from many histories.

    Args:
        shape: of the cells.
        device: where they are kept.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.sum = torch.zeros(shape, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.sum)

    def add(self, place: tuple[Tensor, ...], history: Tensor, weight: Tensor) -> None:
        """Add weights [k] at places (an index [k] for each axis) from histories [k], all told apart."""
        cell = torch.zeros_like(history)
        for size, index in zip(self.sum.shape, place, strict=True):
            cell = cell * size + index
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


class Book:
    """All scores of a run.

    Args:
        regions: region of each pixel.
        bins: number of energy bins.
        lines: number of lines.
        batches: number of batches.
    """

    def __init__(self, regions: Tensor, bins: int, lines: int, batches: int) -> None:
        self.regions, count, kinds = regions, int(regions.max()) + 1, len(CLASSES)
        device = regions.device
        self.counts = Scores((kinds, count, bins), device)
        self.interactions = Scores((kinds, count, lines), device)
        zeros = torch.zeros(batches, kinds, bins, dtype=torch.float64, device=device)
        self.spectrum, self.linked, self.arrivals = zeros, zeros.clone(), zeros.clone()
        self.totals = torch.zeros(batches, kinds, lines, dtype=torch.float64, device=device)

    def tally(self, scale: float, histories: int) -> Tally:
        """Everything per decay, for ``scale`` photons per decay and histories of equal chance."""
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
