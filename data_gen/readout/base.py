"""The interface of readout models: expected live fraction in closed form, and the same losses on sampled
events.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from data_gen.core.events import EventList
from data_gen.readout.modules import ModuleLayout


class Readout(Protocol):
    """Electronics behind the pixels.

    Rates are of events above the threshold, per second while the pixel is in place, as Poisson processes. The
    losses are not linear in the rates, so they multiply the linear forward model: negligible at the tens of
    counts a second of a therapy scan, large with MBq in front of the camera (docs/physics.md, section 8).
    """

    def live(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:
        """Fraction of each pixel's events that are recorded, [..., pixel], at rates [..., pixel] in 1/s.

        Differentiable in the rates. The expected counts of the forward model are multiplied by it.
        """

    def pile_up(self, rate_cps: Tensor, layout: ModuleLayout) -> Tensor:
        """Fraction of each pixel's recorded events that contain more than one event, [..., pixel]."""

    def record(self, events: EventList, layout: ModuleLayout) -> EventList:
        """The events that are recorded, in time order with their time stamps, given ideal events.

        Each event is one photon: hits linked by charge sharing have been joined before.

        Raises:
            UserError: a pixel outside the layout, weighted events, or an energy or time that is not a number.
        """
