"""Frame-based readout, as in HEXITEC: every pixel keeps one signal per frame.

Live fraction and pile-up in closed form (Poisson statistics; docs/physics.md, section 8), and the same losses
applied to events. Times are in s, energies in keV, rates in true events per second.
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

    HEXITEC (80 x 80 pixels; JINST 7 (2012) P08027) keeps the peak of each pixel and reads row after row, at
    most 10 kHz (STFC Technology, "Developing a UK capability in high energy X-ray imaging technology"):
    ``largest`` and ``rolling``. A detector that integrates charge is ``sum``.

    Args:
        frame_rate_hz: frames per second; the default is chosen, no source.
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
        """Recorded frames per true event, (1 - exp(-r open)) / (r frame); r the rate in 1/s, frame and open =
        frame - blind in s. See :class:`Readout`.
        """
        mean = rate_cps * self.open_s
        small = mean < 1e-4
        safe = torch.where(small, torch.ones_like(mean), mean)
        # The quotient is 0/0 without events, where its series is exact to rounding.
        recorded = torch.where(small, 1 - mean / 2 + mean.square() / 6, -torch.expm1(-safe) / safe)
        return recorded * (self.open_s / self.frame_s)

    def pile_up(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:  # noqa: ARG002 - pixels lose alone
        """Probability of several events given at least one: 1 - x / (exp(x) - 1), x = r open; see
        :class:`Readout`.
        """
        mean = rate_cps * self.open_s
        small = mean < 1e-4
        safe = torch.where(small, torch.ones_like(mean), mean)
        return torch.where(small, mean / 2 - mean.square() / 12, 1 - safe / torch.expm1(safe))

    def record(self, events: EventList, layout: ModuleLayout) -> EventList:
        """At most one event per pixel and frame, none below the threshold or from the blind time.

        The stamp is the start of row 0's frame of that number, counted from time 0; with a rolling shutter
        the frame of a later row begins up to one frame after it. See :class:`Readout`.
        """
        layout.checked(events)
        time_frames = events.time_s.to(torch.float64) * self.frame_rate_hz
        if self.shutter == "rolling":
            time_frames = time_frames - layout.row[events.pixel] / layout.shape[0]
        frame = torch.floor(time_frames)
        in_open_time = time_frames - frame < 1.0 - self.blind_s * self.frame_rate_hz
        key = frame[in_open_time].to(torch.int64) * layout.pixels + events.pixel[in_open_time]
        pixel_frames, record_of_event = torch.unique(key, return_inverse=True)
        energy = events.energy_kev.new_zeros(len(pixel_frames))
        if self.keep == "sum":
            energy = energy.index_add(0, record_of_event, events.energy_kev[in_open_time])
        else:
            energy = energy.scatter_reduce(0, record_of_event, events.energy_kev[in_open_time], "amax")
        number = torch.div(pixel_frames, layout.pixels, rounding_mode="floor")
        # Rows above 0 have a frame -1 that began before time 0; it is stamped 0.
        stamp = (number.to(torch.float64) * self.frame_s).clamp_min(0.0)
        recorded = EventList(pixel_frames - number * layout.pixels, energy, stamp)
        return recorded.select(energy >= self.threshold_kev)
