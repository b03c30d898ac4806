"""Poisson counts and list-mode events (pixel, keV, s) sampled from expected counts; docs/physics.md, section
9.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from data_gen.core.events import EventList, Frame, total_duration_s
from data_gen.core.grid import EnergyAxis


def draw_counts(expected: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson counts of the shape, type and device of ``expected`` (counts): whole numbers, 0 or more.

    They are drawn where the generator lives: the same seed gives the same counts on any device, up to
    rounding of what is expected.
    """
    return torch.poisson(expected.to(generator.device), generator=generator).to(expected.device)


def events_from_counts(
    counts: Tensor, axis: EnergyAxis, frames: tuple[Frame, ...], generator: torch.Generator
) -> EventList:
    """Events in time order that give back ``counts`` when histogrammed on ``axis``.

    They lie on the device of the counts, and are drawn where the generator lives.

    Energies are uniform within their bin and times uniform over the frames: the measured rate of a frame
    is constant to first order, since scans are short against the half-life of the parent.

    Args:
        counts: [pixel, bin], whole numbers of 0 or more, summed over all frames.
        axis: the bins, edges in keV.
        frames: when the camera measured, in s after the injection.
        generator: source of all chance.

    Returns:
        Events with pixel (int64), energy in keV (float32) and time in s after the injection (float64),
        [event] each.
    """
    device, counts = counts.device, counts.to(generator.device)
    pixel, index = counts.nonzero(as_tuple=True)
    repeats = counts[pixel, index].to(torch.int64)
    pixel, index = pixel.repeat_interleave(repeats), index.repeat_interleave(repeats)
    edges = axis.edges_kev.to(counts.device)
    low, high = edges[index], edges[index + 1]
    share = torch.rand(len(pixel), generator=generator, dtype=torch.float64, device=counts.device)
    # Rounding to float32 must not lift an energy into the next bin.
    energy = torch.minimum((low + share * (high - low)).float(), torch.nextafter(high.float(), low.float()))
    time = _times(len(pixel), frames, generator)
    order = torch.argsort(time, stable=True)
    return EventList(pixel[order], energy[order], time[order]).to(device)


def _times(count: int, frames: tuple[Frame, ...], generator: torch.Generator) -> Tensor:
    """Uniform times over the frames laid end to end, s after the injection, float64 [count]."""
    kind: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}
    durations = torch.tensor([f.duration_s for f in frames], **kind)
    starts = torch.tensor([f.start_s for f in frames], **kind)
    before = durations.cumsum(0) - durations
    lived = torch.rand(count, generator=generator, **kind) * total_duration_s(frames)
    frame = (torch.bucketize(lived, before, right=True) - 1).clamp_min(0)
    return starts[frame] + (lived - before[frame])
