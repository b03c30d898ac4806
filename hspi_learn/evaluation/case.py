"""A batch of test scans with all that is needed to reconstruct and to judge them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.metrics import evaluated_voxels
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, scan_context


@dataclass(frozen=True)
class Case:
    """Scans, what every method is told of them, and where their reconstructions are judged.

    Args:
        scans: counts and truths.
        context: the same for every method.
        mask: in the body, at a tenth or more of the best sensitivity, [batch, map, z, y, x], bool.
    """

    scans: ScanBatch
    context: ScanContext
    mask: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: HyperspectralForwardModel, scans: ScanBatch) -> Case:
        """The case of these scans, seen by ``model``."""
        context = scan_context(model, scans.density, scans.duration_s)
        sensitivity = model.primary.sensitivity(context.attenuation)
        return cls(scans, context, evaluated_voxels(sensitivity, context.body))

    def thinned(self, fraction: float, seed: int) -> Case:
        """The same scans stopped early: a binomial share of every count, in that share of the time.

        Each scan's draw depends on (seed, fraction, number of the scan) alone.

        Raises:
            UserError: the fraction is outside (0, 1].
        """
        if not 0 < fraction <= 1:
            raise UserError(f"count_fractions holds {fraction}; it needs shares above 0 and at most 1")
        if fraction == 1:
            return self
        counts = torch.stack(
            [
                _binomial(scan, fraction, _generator(seed, fraction, int(i)))
                for scan, i in zip(self.scans.projections, self.scans.index, strict=True)
            ]
        )
        duration = self.scans.duration_s * fraction
        scans = self.scans._replace(projections=counts, duration_s=duration)
        return replace(self, scans=scans, context=self.context._replace(duration_s=duration))

    def first(self, scans: int) -> Case:
        """The first so many scans of the batch; none if that is below 1."""
        kept = slice(0, max(0, scans))
        return Case(
            ScanBatch(*(part[kept] for part in self.scans)),
            self.context.part(kept),
            self.mask[kept],
        )

    @torch.no_grad()
    def expected(self, model: HyperspectralForwardModel) -> Tensor:
        """Counts that the truth would give on average, [batch, pixel, window]."""
        return model.expected_counts(self.scans.activity, self.context.attenuation, self.context.duration_s)

    def with_counts(self, counts: Tensor) -> Case:
        """The same scans with other counts [batch, pixel, window]."""
        return replace(self, scans=self.scans._replace(projections=counts))

    @torch.no_grad()
    def reconstructed(self, method: Reconstructor) -> Tensor:
        """The method's activity [batch, map, z, y, x] in Bq per voxel."""
        return method.reconstruct(self.scans.projections, self.context)


def _binomial(counts: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """A binomial share of counts, drawn where the generator lives."""
    there = counts.to(generator.device)
    drawn = torch.binomial(there, torch.full_like(there, fraction), generator=generator)
    return drawn.to(counts.device)


def _generator(seed: int, fraction: float, index: int) -> torch.Generator:
    """A generator of its own for each scan and fraction."""
    return torch.Generator().manual_seed((seed * 1_000_003 + round(fraction * 1e6)) * 1_000_003 + index)
