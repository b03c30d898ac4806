"""Readout of a whole camera: dead and hot pixels, then the electronics of every module."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame
from data_gen.readout.base import Readout
from data_gen.readout.mask import PixelMask
from data_gen.readout.modules import ModuleLayout


@dataclass(frozen=True)
class CameraReadout:
    """Bad pixels, then the electronics of every module.

    Args:
        layout: the camera's pixels, divided into modules.
        readout: the electronics.
        mask: dead and hot pixels; noise of hot pixels causes dead time too.

    Raises:
        UserError: the mask names a pixel that the camera does not have.
    """

    layout: ModuleLayout
    readout: Readout
    mask: PixelMask = field(default_factory=PixelMask)

    def __post_init__(self) -> None:
        self.mask.checked(self.layout.pixels)

    def live(self, rate_cps: Tensor) -> Tensor:
        """Factor on the expected counts of each pixel, [..., pixel], at its expected rate [..., pixel] in
        1/s.

        Differentiable. The rate is that while the pixel is in place: all bins together, background included,
        noise of hot pixels not.

        Raises:
            UserError: a rate is negative or not a number, or there is not one for every pixel.
        """
        if rate_cps.shape[-1] != self.layout.pixels:
            raise UserError(f"rates are for {rate_cps.shape[-1]} pixels; the camera has {self.layout.pixels}")
        plain = rate_cps.detach()
        if not bool(torch.isfinite(plain).all()) or bool((plain < 0).any()):
            raise UserError("rates hold negative, NaN or infinite values; a rate needs 0 counts/s or more")
        alive = self.mask.alive(self.layout.pixels).to(rate_cps)
        noise = self.mask.noise_cps(self.layout.pixels).to(rate_cps)
        return alive * self.readout.live(alive * rate_cps + noise, self.layout)

    def record(self, events: EventList, frames: tuple[Frame, ...], generator: torch.Generator) -> EventList:
        """The events that the camera records, in time order, given ideal events.

        Args:
            events: one event per photon; their times are those at which the pixel was in place.
            frames: when the camera measured, for the noise of hot pixels.
            generator: random generator of that noise; all else is deterministic.

        Raises:
            UserError: no frame, a pixel outside the camera, weights, or values that are not numbers.
        """
        if not frames:
            raise UserError("the scan has no frames; it needs at least one")
        self.layout.checked(events)
        return self.readout.record(self.mask.apply(events, frames, generator), self.layout)
