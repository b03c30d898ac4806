"""Event-driven readout: each trigger makes its channel dead for a time.

Live fraction and pile-up in closed form (Knoll, chapter 4), and the same losses applied to events. Times are
in s, energies in keV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.readout.dead_time import DEAD_TIME_KINDS, survivors
from data_gen.readout.modules import ModuleLayout


@dataclass(frozen=True)
class EventReadout:
    """Every event above the threshold triggers its channel, unless the channel is dead.

    Args:
        dead_time_s: duration of the dead time after a trigger.
        kind: ``non_paralysable``: events within the dead time are lost without effect; ``paralysable``:
            each of them extends it.
        channel: pixels that share one dead time: the ``module``, or each ``pixel`` alone.
        pile_up_s: energies deposited in the pixel of a recorded event within this time after it are
            added to it; at most the dead time.
        time_step_s: resolution of the time stamps, which are rounded down; 0 keeps times exact.
        threshold_kev: smallest energy that triggers.

    Raises:
        UserError: a constant is out of its range.
    """

    dead_time_s: float
    kind: Literal["paralysable", "non_paralysable"] = "non_paralysable"
    channel: Literal["module", "pixel"] = "module"
    pile_up_s: float = 0.0
    time_step_s: float = 0.0
    threshold_kev: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dead_time_s", "pile_up_s", "time_step_s", "threshold_kev"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"readout.{name} is {getattr(self, name)}; it needs a number of 0 or more")
        if self.kind not in DEAD_TIME_KINDS:
            raise UserError(f"readout.kind is {self.kind!r}; it needs one of {list(DEAD_TIME_KINDS)}")
        if self.channel not in ("module", "pixel"):
            raise UserError(f"readout.channel is {self.channel!r}; it needs 'module' or 'pixel'")
        if self.pile_up_s > self.dead_time_s:
            raise UserError(
                f"readout.pile_up_s is {self.pile_up_s}; it needs at most dead_time_s, {self.dead_time_s}"
            )

    def live(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:
        """1 / (1 + n tau) or exp(-n tau), n being the rate of the pixel's channel; see :class:`Readout`."""
        rate = rate_cps
        if self.channel == "module":
            rate = layout.summed(rate_cps)[..., layout.module.to(rate_cps.device)]
        dead = rate * self.dead_time_s
        return torch.exp(-dead) if self.kind == "paralysable" else 1 / (1 + dead)

    def pile_up(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:  # noqa: ARG002 - pixels pile up alone
        """1 - exp(-r pile_up) at the pixel's own rate r; see :class:`Readout`."""
        return -torch.expm1(-rate_cps * self.pile_up_s)

    def record(self, events: EventList, layout: ModuleLayout) -> EventList:
        """The events whose channel is not dead, with the energies piled up on them; see :class:`Readout`."""
        layout.checked(events)
        events = events.select(events.energy_kev >= self.threshold_kev)
        channel = layout.module[events.pixel] if self.channel == "module" else events.pixel
        kept = survivors(self.kind, channel, events.time_s.to(torch.float64), self.dead_time_s)
        events = self._with_pile_up(events, kept).select(kept)
        events = events.select(torch.argsort(events.time_s, stable=True))
        if self.time_step_s == 0:
            return events
        stamp = torch.floor(events.time_s.to(torch.float64) / self.time_step_s) * self.time_step_s
        return EventList(events.pixel, events.energy_kev, stamp)

    def _with_pile_up(self, events: EventList, kept: Tensor) -> EventList:
        """Events, each recorded one with the energies that follow it in its pixel added."""
        if self.pile_up_s == 0:
            return events
        time = events.time_s.to(torch.float64)
        order = torch.argsort(time, stable=True)
        order = order[torch.argsort(events.pixel[order], stable=True)]
        pixel, time, kept = events.pixel[order], time[order], kept[order]
        place = torch.arange(len(order))
        last = torch.where(kept, place, -1).cummax(0).values if len(order) else place
        adds = ~kept & (last >= 0)
        home = last.clamp_min(0)
        adds &= (pixel[home] == pixel) & (time - time[home] < self.pile_up_s)
        energy = events.energy_kev.index_add(0, order[home[adds]], events.energy_kev[order[adds]])
        return EventList(events.pixel, energy, events.time_s)
