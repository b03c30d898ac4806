"""A measurement: frames (intervals in s) and list-mode events (pixel, energy in keV, time in s)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, bin_index


@dataclass(frozen=True)
class Frame:
    """An interval of measurement, in seconds after the injection."""

    start_s: float
    duration_s: float

    def __post_init__(self) -> None:
        if not (self.start_s >= 0 and self.duration_s > 0):
            raise UserError(
                f"frame starts at {self.start_s} s and lasts {self.duration_s} s; "
                "it needs a start of 0 or later and a positive duration"
            )

    @property
    def end_s(self) -> float:
        """End of the frame in s."""
        return self.start_s + self.duration_s


def total_duration_s(frames: tuple[Frame, ...]) -> float:
    """Time measured in all frames together, in s."""
    return sum(frame.duration_s for frame in frames)


@dataclass(frozen=True)
class EventList:
    """Events as recorded: pixel index [n] int64, energy [n] keV, time [n] s after the injection.

    ``weight`` is None for counted events; a histogram that is handled as rows carries its counts there.
    """

    pixel: Tensor
    energy_kev: Tensor
    time_s: Tensor
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.pixel), len(self.energy_kev), len(self.time_s)}
        if len(sizes) != 1:
            raise UserError(f"event columns have lengths {sorted(sizes)}; they need one length")

    def __len__(self) -> int:
        return len(self.pixel)

    def checked(self, pixels: int, source: str = "events") -> EventList:
        """The same events, after checking pixel range and finite energies and times.

        Raises:
            UserError: a pixel outside 0..pixels-1, or a NaN, infinite or negative energy or time.
        """
        if len(self):
            low, high = int(self.pixel.min()), int(self.pixel.max())
            if low < 0 or high >= pixels:
                raise UserError(
                    f"{source}: pixel indices span {low}..{high}; this camera has 0..{pixels - 1}"
                )
            for name, column in (("energy_kev", self.energy_kev), ("time_s", self.time_s)):
                if not bool(torch.isfinite(column).all()) or bool((column < 0).any()):
                    raise UserError(
                        f"{source}: {name} holds negative, NaN or infinite values; it needs finite ones"
                    )
        return self

    def to(self, device: torch.device | str) -> EventList:
        """The same events on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return EventList(self.pixel.to(device), self.energy_kev.to(device), self.time_s.to(device), weight)

    def within(self, low_kev: float, high_kev: float) -> EventList:
        """The events with low <= energy < high."""
        return self.select((self.energy_kev >= low_kev) & (self.energy_kev < high_kev))

    def select(self, keep: Tensor) -> EventList:
        """The events where ``keep`` [n] is true."""
        weight = None if self.weight is None else self.weight[keep]
        return EventList(self.pixel[keep], self.energy_kev[keep], self.time_s[keep], weight)

    def thinned(self, fraction: float, generator: torch.Generator) -> EventList:
        """A binomial share of the events: exactly the scan of ``fraction`` of the activity.

        Raises:
            UserError: the fraction is outside (0, 1].
        """
        if not 0 < fraction <= 1:
            raise UserError(f"count fraction is {fraction}; it needs to be above 0 and at most 1")
        if fraction == 1:
            return self
        drawn = torch.rand(len(self), generator=generator, device=generator.device)
        return self.select(drawn.to(self.pixel.device) < fraction)

    def histogram(self, pixels: int, axis: EnergyAxis) -> Tensor:
        """Counts [pixels, axis.count], float32; events outside the axis are left out."""
        index = bin_index(axis, self.energy_kev)
        inside = index >= 0
        flat = self.pixel[inside] * axis.count + index[inside]
        weight = None if self.weight is None else self.weight[inside]
        counts = torch.bincount(flat, weights=weight, minlength=pixels * axis.count)
        return counts.to(torch.float32).reshape(pixels, axis.count)


def checked_counts(counts: Tensor, source: str = "projections") -> Tensor:
    """The same counts, after checking that they are finite and not negative.

    Raises:
        UserError: NaN, infinite or negative counts.
    """
    if not bool(torch.isfinite(counts).all()):
        raise UserError(f"{source} hold NaN or infinite counts; counts need to be finite and 0 or more")
    if bool((counts < 0).any()):
        raise UserError(
            f"{source} hold negative counts (lowest {float(counts.min()):g}); counts need to be 0 or more"
        )
    return counts
