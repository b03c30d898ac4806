"""Gain and offset of every pixel, applied to recorded energies in keV."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList


@dataclass(frozen=True)
class PixelCalibration:
    """A pixel records gain x energy + offset.

    The spectrum of single-pixel events averaged over pixels is that of
    :class:`data_gen.detector.CdTeResponse` with ``gain_spread_fraction`` and ``offset_spread_kev`` the
    spreads over pixels; the response of one pixel has both at 0. Each signal of an added event has gain and
    offset of its own pixel before it is added.

    Args:
        gain: [pixel], 1 for none.
        offset_kev: [pixel], 0 for none.

    Raises:
        UserError: shapes differ, or a gain is not positive.
    """

    gain: Tensor
    offset_kev: Tensor

    def __post_init__(self) -> None:
        if self.gain.shape != self.offset_kev.shape or self.gain.ndim != 1:
            raise UserError(
                f"pixel calibration: gain has shape {list(self.gain.shape)} and offset_kev "
                f"{list(self.offset_kev.shape)}; both need one number per pixel"
            )
        if not bool((self.gain > 0).all()):
            raise UserError(
                f"pixel calibration: the least gain is {float(self.gain.min())}; it needs to be > 0"
            )

    @classmethod
    def drawn(
        cls, pixels: int, gain_spread_fraction: float, offset_spread_kev: float, generator: torch.Generator
    ) -> PixelCalibration:
        """Normal gains about 1 and offsets about 0, sigmas as given."""
        draws = torch.randn(2, pixels, dtype=torch.float64, generator=generator)
        return cls(1 + gain_spread_fraction * draws[0], offset_spread_kev * draws[1])

    def recorded(self, events: EventList) -> EventList:
        """Events of true signals as the uncalibrated pixels record them."""
        energy = self.gain[events.pixel] * events.energy_kev + self.offset_kev[events.pixel]
        return replace(events, energy_kev=energy.to(events.energy_kev.dtype))

    def corrected(self, events: EventList) -> EventList:
        """The inverse of :meth:`recorded`."""
        energy = (events.energy_kev - self.offset_kev[events.pixel]) / self.gain[events.pixel]
        return replace(events, energy_kev=energy.to(events.energy_kev.dtype))
