"""Frame-based readout, as in HEXITEC: every pixel keeps one signal per frame.

Closed forms of live fraction, pile-up and recorded spectrum (Poisson statistics), and the same applied to
events. Times are in s, energies in keV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.readout.modules import ModuleLayout


@dataclass(frozen=True)
class FrameReadout:
    """Every pixel gives one number per frame, however many events it had in it.

    HEXITEC keeps the peak of each pixel and reads row after row, at most 10 kHz for 80 x 80 pixels (STFC
    Technology, "Developing a UK capability in high energy X-ray imaging technology"): ``largest`` and
    ``rolling``. A detector that integrates charge is ``sum``.

    Args:
        frame_rate_hz: frames per second.
        keep: the largest signal of a frame, or the sum of its signals.
        shutter: ``rolling`` shifts the frame of each row by its part of the frame time, ``global`` does not.
        blind_s: time at the end of each frame during which a pixel is read and reset and records nothing.
        threshold_kev: signals of a frame below it are no event.

    Raises:
        UserError: a constant is out of its range.
    """

    frame_rate_hz: float = 8000.0
    keep: Literal["largest", "sum"] = "largest"
    shutter: Literal["rolling", "global"] = "rolling"
    blind_s: float = 0.0
    threshold_kev: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.frame_rate_hz < math.inf:
            raise UserError(f"readout.frame_rate_hz is {self.frame_rate_hz}; it needs a positive number")
        if self.keep not in ("largest", "sum"):
            raise UserError(f"readout.keep is {self.keep!r}; it needs 'largest' or 'sum'")
        if self.shutter not in ("rolling", "global"):
            raise UserError(f"readout.shutter is {self.shutter!r}; it needs 'rolling' or 'global'")
        if not 0 <= self.blind_s < self.frame_s:
            raise UserError(
                f"readout.blind_s is {self.blind_s}; it needs 0 s or more and less than {self.frame_s}"
            )
        if not 0 <= self.threshold_kev < math.inf:
            raise UserError(f"readout.threshold_kev is {self.threshold_kev}; it needs 0 keV or more")

    @property
    def frame_s(self) -> float:
        """Duration of a frame, and the resolution of the time stamps."""
        return 1.0 / self.frame_rate_hz

    @property
    def open_s(self) -> float:
        """Time of each frame during which a pixel records."""
        return self.frame_s - self.blind_s

    def live(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:  # noqa: ARG002 - pixels lose alone
        """Frames with at least one event, over events: (1 - exp(-r open)) / (r frame); see
        :class:`Readout`.
        """
        mean = rate_cps * self.open_s
        small = mean < 1e-4
        safe = torch.where(small, torch.ones_like(mean), mean)
        # The quotient is 0/0 without events, where its series is exact to rounding.
        filled = torch.where(small, 1 - mean / 2 + mean.square() / 6, -torch.expm1(-safe) / safe)
        return filled * (self.open_s / self.frame_s)

    def pile_up(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:  # noqa: ARG002 - pixels lose alone
        """Probability of several events given at least one: 1 - x / (exp(x) - 1), x = r open; see
        :class:`Readout`.
        """
        mean = rate_cps * self.open_s
        small = mean < 1e-4
        safe = torch.where(small, torch.ones_like(mean), mean)
        return torch.where(small, mean / 2 - mean.square() / 12, 1 - safe / torch.expm1(safe))

    def record(self, events: EventList, layout: ModuleLayout) -> EventList:
        """One event for every pixel and frame with any event, stamped with the frame's start.

        Frames are counted from the reference time; see :class:`Readout`.
        """
        layout.checked(events)
        turns = events.time_s.to(torch.float64) * self.frame_rate_hz
        if self.shutter == "rolling":
            turns = turns - layout.row[events.pixel] / layout.shape[0]
        frame = torch.floor(turns)
        seen = turns - frame < 1.0 - self.blind_s * self.frame_rate_hz
        key = frame[seen].to(torch.int64) * layout.pixels + events.pixel[seen]
        held, home = torch.unique(key, return_inverse=True)
        energy = events.energy_kev.new_zeros(len(held))
        if self.keep == "sum":
            energy = energy.index_add(0, home, events.energy_kev[seen])
        else:
            energy = energy.scatter_reduce(0, home, events.energy_kev[seen], "amax")
        number = torch.div(held, layout.pixels, rounding_mode="floor")
        # The last rows begin their first frame a little after the reference time.
        stamp = (number.to(torch.float64) * self.frame_s).clamp_min(0.0)
        recorded = EventList(held - number * layout.pixels, energy, stamp)
        return recorded.select(energy >= self.threshold_kev)
