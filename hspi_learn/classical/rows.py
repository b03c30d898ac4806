"""Measured over expected counts, back-projected: the data term of an EM update, for histograms or list-mode
events.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from data_gen.core.autograd import linear
from data_gen.core.events import EventList
from data_gen.core.grid import bin_index
from data_gen.forward_model.block_terms import BlockTerms
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.reconstructor import ScanContext

LEAST_EXPECTED_COUNTS = 1e-8
"""A count where the model expects fewer cannot come from the body; it is left out, not divided by zero."""


class Rows(Protocol):
    """The data of one subset of pixels, with the model of those pixels."""

    @property
    def model(self) -> HyperspectralForwardModel:
        """The model of these pixels: photons behind apertures alone."""

    def counts_of_scan(self) -> Tensor:
        """Measured counts of each scan in these pixels, [batch]."""

    def back_projected_ratio(self, activity: Tensor, context: ScanContext, table: Tensor | None) -> Tensor:
        """A^T (n / (A activity + B + background)), [batch, map, z, y, x].

        ``table`` are the counts a second B of leakage and scatter on blocks of pixels, [batch, block, bin].
        """


class HistogramRows(NamedTuple):
    """Counts [batch, pixel, bin] of a subset."""

    model: HyperspectralForwardModel
    blocks: BlockTerms | None
    counts: Tensor

    def counts_of_scan(self) -> Tensor:
        """See :class:`Rows`."""
        return self.counts.detach().sum(dim=(1, 2))

    def back_projected_ratio(self, activity: Tensor, context: ScanContext, table: Tensor | None) -> Tensor:
        """See :class:`Rows`."""
        model, state, duration = self.model, context.attenuation, context.duration_s[:, None, None]
        project, back_project = (partial(f, state=state) for f in (model.project, model.back_project))
        fixed = not state.requires_grad
        rate = linear(project, back_project, activity, fixed=fixed) + model.background_rate()
        expected = duration * rate
        if self.blocks and table is not None:
            expected = expected + duration * self.blocks.spread(table)
        return linear(back_project, project, measured_over_expected(self.counts, expected), fixed=fixed)


class EventRows(NamedTuple):
    """Events of one scan in a subset: local pixel, energy bin and weight (counts) [event]."""

    model: HyperspectralForwardModel
    blocks: BlockTerms | None
    pixel: Tensor
    energy_bin: Tensor
    weight: Tensor

    def counts_of_scan(self) -> Tensor:
        """See :class:`Rows`."""
        return self.weight.detach().sum().reshape(1)

    def back_projected_ratio(self, activity: Tensor, context: ScanContext, table: Tensor | None) -> Tensor:
        """See :class:`Rows`."""
        model, state = self.model, context.attenuation
        project, back_project = (
            partial(f, state=state, pixel=self.pixel, energy_bin=self.energy_bin)
            for f in (model.project_at, model.back_project_at)
        )
        fixed = not state.requires_grad
        rate = linear(project, back_project, activity, fixed=fixed)
        rate = rate + model.background_rate()[self.pixel, self.energy_bin]
        if self.blocks and table is not None:
            rate = rate + self.blocks.spread_at(table[0], self.pixel, self.energy_bin)
        ratio = measured_over_expected(self.weight, context.duration_s.to(rate.dtype) * rate)
        ratio = ratio.to(activity.dtype)
        return linear(back_project, project, ratio, fixed=fixed)


def event_rows(
    model: HyperspectralForwardModel,
    blocks: BlockTerms | None,
    pixels: Tensor,
    events: EventList,
    dtype: torch.dtype,
) -> EventRows:
    """The events in ``pixels`` [k], which ``model`` is restricted to, and in its energy bins."""
    energy_bin, device = bin_index(model.energy_bins, events.energy_kev), events.pixel.device
    most = max(int(pixels.max()), int(events.pixel.max()) if len(events) else 0)
    place = torch.full((most + 1,), -1, device=device)
    place[pixels.to(device)] = torch.arange(len(pixels), device=device)
    local = place[events.pixel]
    mine = (energy_bin >= 0) & (local >= 0)
    counted = torch.ones(len(events), device=device) if events.weight is None else events.weight
    weight = counted.to(dtype)
    return EventRows(model, blocks, local[mine], energy_bin[mine], weight[mine])


def measured_over_expected(counts: Tensor, expected: Tensor) -> Tensor:
    """Counts over expected counts; 0 where the model expects none."""
    possible = expected > LEAST_EXPECTED_COUNTS
    return torch.where(possible, counts / expected.clamp_min(LEAST_EXPECTED_COUNTS), 0.0)
