"""What every readout offers: expected losses in closed form, and the same losses on drawn events."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from data_gen.core.events import EventList
from data_gen.readout.modules import ModuleLayout


class Readout(Protocol):
    """Electronics behind the pixels.

    Rates are of events above the threshold, per second while the pixel looks, as Poisson processes. The
    losses are no linear function of them, so they stand outside the linear forward model: next to 1 at the
    tens of counts a second of a therapy scan, felt with MBq in front of the camera.
    """

    def live(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:
        """Share of each pixel's events that are recorded, [..., pixel], for rates [..., pixel].

        Differentiable in the rates. The expected counts of the forward model are multiplied by it.
        """

    def pile_up(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:
        """Share of each pixel's recorded events that hold more than one event, [..., pixel]."""

    def record(self, events: EventList, layout: ModuleLayout) -> EventList:
        """What is recorded of ideal events, in time order with its time stamps.

        Each event is one photon: hits linked by charge sharing are joined before.

        Raises:
            UserError: a pixel outside the layout, weighted events, or an energy or time that is no number.
        """
