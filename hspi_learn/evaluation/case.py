"""Batches of test scans with all that is needed to predict, to attack and to judge them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from lightning_utilities import apply_to_collection
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.metrics import evaluated_voxels, scan_nrmse
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, scan_context
from hspi_learn.tasks import Inputs, Task


@dataclass(frozen=True)
class ReconstructionCase:
    """Scans, what every method is told of them, and where their reconstructions are judged.

    Args:
        model: sees the scans.
        batch: counts and truths.
        context: what every method is told of the scans besides counts.
        mask: voxels that are evaluated: in the body, with 10 % or more of the maximum sensitivity, [batch,
            map, z, y, x], bool.
    """

    model: HyperspectralForwardModel
    batch: ScanBatch
    context: ScanContext
    mask: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: HyperspectralForwardModel, scans: ScanBatch) -> ReconstructionCase:
        """The case of these scans, seen by ``model``."""
        context = scan_context(model, scans.density, scans.duration_s)
        sensitivity = model.primary.sensitivity(context.attenuation)
        return cls(model, scans, context, evaluated_voxels(sensitivity, context.body))

    @property
    def first_index(self) -> int:
        """Number of the first scan in its split."""
        return int(self.batch.index[0])

    @property
    def inputs(self) -> Inputs:
        """Counts and context."""
        return Inputs(self.batch.projections, "counts", self.context)

    def error(self, prediction: Tensor) -> Tensor:
        """NRMSE of an activity [batch, map, z, y, x], mean over maps."""
        return scan_nrmse(prediction, self.batch.activity, self.mask)

    def thinned(self, fraction: float, seed: int) -> ReconstructionCase:
        """The same scans stopped early; see :func:`thinned_scans`."""
        if fraction == 1:
            return self
        scans = thinned_scans(self.batch, fraction, seed)
        return replace(self, batch=scans, context=self.context._replace(duration_s=scans.duration_s))

    def first(self, samples: int) -> ReconstructionCase | None:
        """The first so many scans of the batch; None if that is below 1."""
        if samples < 1:
            return None
        kept = slice(0, samples)
        scans = ScanBatch(*(part[kept] for part in self.batch))
        return replace(self, batch=scans, context=self.context.part(kept), mask=self.mask[kept])

    @torch.no_grad()
    def expected(self) -> Tensor:
        """Counts that the truth would give on average, [batch, pixel, window]."""
        return self.model.expected_counts(
            self.batch.activity, self.context.attenuation, self.context.duration_s
        )

    def with_values(self, values: Tensor) -> ReconstructionCase:
        """The same scans with other counts [batch, pixel, window]."""
        return replace(self, batch=self.batch._replace(projections=values))

    @torch.no_grad()
    def reconstructed(self, method: Reconstructor) -> Tensor:
        """The method's activity [batch, map, z, y, x] in Bq per voxel."""
        return method.reconstruct(self.batch.projections, self.context)


@dataclass(frozen=True)
class TaskCase:
    """A batch of any task's samples, as the task itself sees it.

    Args:
        task: tells inputs and error.
        batch: the samples, truth included.
        first_index: number of the first one in the test split.
        values: input values instead of the batch's own.
    """

    task: Task
    batch: Any
    first_index: int = 0
    values: Tensor | None = None

    @cached_property
    @torch.no_grad()
    def inputs(self) -> Inputs:
        """The task's own, with the values of this case."""
        inputs = self.task.inputs(self.batch)
        return inputs if self.values is None else inputs._replace(values=self.values)

    @torch.no_grad()
    def expected(self) -> Tensor | None:
        """See :meth:`hspi_learn.tasks.Task.expected`; counts stand for themselves where pixels are dead."""
        found, live = self.task.expected(self.batch), self.task.system.live
        if found is not None or live is None or self.inputs.space != "counts":
            return found
        values = self.inputs.values
        least = torch.finfo(values.dtype).tiny
        return torch.where(live.to(values.device)[:, None] > 0, values.clamp_min(least), 0.0)

    def error(self, prediction: Tensor) -> Tensor:
        """See :meth:`hspi_learn.tasks.Task.per_sample_loss`."""
        return self.task.per_sample_loss(prediction, self.batch)

    def thinned(self, fraction: float, seed: int) -> TaskCase:
        """The same scans stopped early; see :func:`thinned_scans`.

        Raises:
            UserError: the samples are no scans.
        """
        if fraction == 1:
            return self
        if not isinstance(self.batch, ScanBatch):
            raise UserError(
                f"count_fractions holds {fraction}, but a {type(self.batch).__name__} of "
                f"{type(self.task).__name__} holds no counts; set count_fractions=[1.0]"
            )
        return replace(self, batch=thinned_scans(self.batch, fraction, seed))

    def first(self, samples: int) -> TaskCase | None:
        """The first so many samples of the batch; None if that is below 1."""
        if samples < 1:
            return None
        return replace(self, batch=apply_to_collection(self.batch, Tensor, lambda part: part[:samples]))

    def with_values(self, values: Tensor) -> TaskCase:
        """The same samples with other input values."""
        return replace(self, values=values)


def thinned_scans(scans: ScanBatch, fraction: float, seed: int) -> ScanBatch:
    """The same scans stopped early: a binomial share of every count, in that share of the time.

    Each scan's draw depends on (seed, fraction, number of the scan) alone.

    Raises:
        UserError: the fraction is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"count_fractions holds {fraction}; it needs shares above 0 and at most 1")
    counts = torch.stack(
        [
            _binomial(scan, fraction, _generator(seed, fraction, int(i)))
            for scan, i in zip(scans.projections, scans.index, strict=True)
        ]
    )
    return scans._replace(projections=counts, duration_s=scans.duration_s * fraction)


def _binomial(counts: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """A binomial share of counts, drawn where the generator lives."""
    there = counts.to(generator.device)
    drawn = torch.binomial(there, torch.full_like(there, fraction), generator=generator)
    return drawn.to(counts.device)


def _generator(seed: int, fraction: float, index: int) -> torch.Generator:
    """A generator of its own for each scan and fraction."""
    return torch.Generator().manual_seed((seed * 1_000_003 + round(fraction * 1e6)) * 1_000_003 + index)
