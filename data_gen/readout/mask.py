"""Dead and hot pixels: which record nothing, and which add noise events.

Rates are in counts/s, energies in keV; noise is Poisson in number and uniform in time and energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame


@dataclass(frozen=True)
class PixelMask:
    """Dead and hot pixels by their index in the camera.

    Args:
        dead: record nothing.
        hot: add noise events to the true ones.
        hot_rate_cps: noise events per second in each hot pixel.
        hot_kev: noise energies are uniform between these two, just above the threshold.

    Raises:
        UserError: a pixel is named twice, or a number is out of its range.
    """

    dead: tuple[int, ...] = ()
    hot: tuple[int, ...] = ()
    hot_rate_cps: float = 0.0
    hot_kev: tuple[float, float] = (3.0, 30.0)

    def __post_init__(self) -> None:
        named = [*self.dead, *self.hot]
        if len(set(named)) != len(named):
            raise UserError("mask.dead and mask.hot name a pixel twice; each pixel needs to stand there once")
        if not 0 <= self.hot_rate_cps < math.inf:
            raise UserError(f"mask.hot_rate_cps is {self.hot_rate_cps}; it needs 0 counts/s or more")
        if not 0 <= self.hot_kev[0] < self.hot_kev[1] < math.inf:
            raise UserError(f"mask.hot_kev is {list(self.hot_kev)}; it needs [lowest, highest] in keV")

    def checked(self, pixels: int) -> PixelMask:
        """The same mask, after checking it against a camera's number of pixels.

        Raises:
            UserError: a pixel that the camera does not have.
        """
        for pixel in (*self.dead, *self.hot):
            if not 0 <= pixel < pixels:
                raise UserError(f"mask names pixel {pixel}; this camera has 0..{pixels - 1}")
        return self

    def alive(self, pixels: int) -> Tensor:
        """0 for dead pixels and 1 for all others, [pixel] float64."""
        alive = torch.ones(pixels, dtype=torch.float64)
        alive[list(self.dead)] = 0.0
        return alive

    def noise_cps(self, pixels: int) -> Tensor:
        """Noise events a second, [pixel] float64."""
        noise = torch.zeros(pixels, dtype=torch.float64)
        noise[list(self.hot)] = self.hot_rate_cps
        return noise

    def apply(self, events: EventList, frames: tuple[Frame, ...], generator: torch.Generator) -> EventList:
        """The events without those of dead pixels and with the noise of hot ones, in time order."""
        if self.dead:
            events = events.select(~torch.isin(events.pixel, torch.tensor(self.dead)))
        if not self.hot or self.hot_rate_cps == 0:
            return events
        noise = self._noise(frames, generator)
        time = torch.cat((events.time_s.to(torch.float64), noise.time_s))
        order = torch.argsort(time, stable=True)
        energy = torch.cat((events.energy_kev, noise.energy_kev.to(events.energy_kev.dtype)))
        return EventList(torch.cat((events.pixel, noise.pixel))[order], energy[order], time[order])

    def _noise(self, frames: tuple[Frame, ...], generator: torch.Generator) -> EventList:
        """Noise events of a scan: Poisson in number, uniform in time and energy."""
        start, duration = (
            torch.tensor([[f.start_s, f.duration_s] for f in frames], dtype=torch.float64).reshape(-1, 2).T
        )
        mean = (self.hot_rate_cps * duration).repeat(len(self.hot), 1)
        counts = torch.poisson(mean, generator=generator).to(torch.int64)
        which = torch.arange(counts.numel()).repeat_interleave(counts.flatten())
        frame = torch.remainder(which, len(frames))
        pixel = torch.tensor(self.hot)[torch.div(which, len(frames), rounding_mode="floor")]
        place, level = torch.rand(2, len(which), generator=generator, dtype=torch.float64)
        low, high = self.hot_kev
        return EventList(pixel, low + level * (high - low), start[frame] + place * duration[frame])
