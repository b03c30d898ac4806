"""Poisson counts and list-mode events (pixel, keV, s) sampled from expected counts; docs/physics.md, section
9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from data_gen.core.events import EventList, Frame, total_duration_s
from data_gen.core.grid import EnergyAxis

RateAt = Callable[[Frame, Tensor, Tensor], Tensor]
"""Expected counts a second in a frame, at pixels [k] and energy bins [k]: [k]."""

STEADY = 0.01
"""Change of activity over a frame, as the logarithm of a ratio, below which rates are taken for constant."""

CHANGE_A_STEP = 0.2
"""Change over one step of a frame, at most; linear in between, rates are then 0.5 % off an exponential."""

MOST_STEPS = 100
"""Steps of a frame, at most."""

EVENTS_AT_ONCE = 1 << 17
"""Events whose times are drawn together, which bounds memory."""


def draw_counts(expected: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson counts of the shape, type and device of ``expected`` (counts): whole numbers, 0 or more.

    They are drawn where the generator lives: the same seed gives the same counts on any device, up to
    rounding of what is expected.
    """
    return torch.poisson(expected.to(generator.device), generator=generator).to(expected.device)


def steps_of(frame: Frame, change: float) -> tuple[Frame, ...]:
    """The frame in equal steps so short that rates hardly bend within one; the frame itself if it is steady.

    Args:
        frame: a frame.
        change: logarithm of the ratio by which activity rises or falls over it, 0 or more.
    """
    if change <= STEADY:
        return (frame,)
    count = min(max(2, math.ceil(change / CHANGE_A_STEP)), MOST_STEPS)
    step_s = frame.duration_s / count
    return tuple(Frame(frame.start_s + k * step_s, step_s) for k in range(count))


def decay_steps(frames: tuple[Frame, ...], decay_constants: Sequence[float]) -> dict[Frame, Tensor] | None:
    """Steps of frames in which maps decay exponentially, and the activity of each map there.

    Args:
        frames: when the camera measures.
        decay_constants: of each map, 1/s.

    Returns:
        Step to the mean activity of each map in it over that in all frames, [map] float64; None if all maps
        are steady over all frames.
    """
    constants = torch.tensor(decay_constants, dtype=torch.float64)
    fastest, first_s = max(decay_constants), min(frame.start_s for frame in frames)
    if fastest * (max(frame.end_s for frame in frames) - first_s) <= STEADY:
        return None
    steps = [step for frame in frames for step in steps_of(frame, fastest * frame.duration_s)]
    starts, durations = _starts_and_durations(tuple(steps), constants)
    passed = constants * durations[:, None]
    mean = torch.exp(-constants * (starts - first_s)[:, None]) * -torch.expm1(-passed) / passed
    over_all = (mean * durations[:, None]).sum(0) / durations.sum()
    return dict(zip(steps, mean / over_all, strict=True))


def events_from_counts(
    counts: Tensor,
    axis: EnergyAxis,
    frames: tuple[Frame, ...],
    generator: torch.Generator,
    rate_at: RateAt | None = None,
) -> EventList:
    """Events in time order that give back ``counts`` when histogrammed on ``axis``.

    They lie on the device of the counts, and are drawn where the generator lives. Energies are uniform
    within their bin.

    Args:
        counts: [pixel, bin], whole numbers of 0 or more, summed over all frames.
        axis: the bins, edges in keV.
        frames: when the camera measured, in s after the injection.
        generator: source of all chance.
        rate_at: expected rates in each frame, which times follow: frame by frame in proportion, and linearly
            within a frame that joins another one. None: rates are the same at all times.

    Returns:
        Events with pixel (int64), energy in keV (float32) and time in s after the injection (float64),
        [event] each.
    """
    device, counts = counts.device, counts.to(generator.device)
    cells = counts.nonzero(as_tuple=True)
    repeats = counts[cells].to(torch.int64)
    pixel, index = (part.repeat_interleave(repeats) for part in cells)
    edges = axis.edges_kev.to(counts.device)
    low, high = edges[index], edges[index + 1]
    share = torch.rand(len(pixel), generator=generator, dtype=torch.float64, device=counts.device)
    energy = _rounded_inside((low + share * (high - low)).float(), low, high)
    drawn = torch.rand(len(pixel), generator=generator, dtype=torch.float64, device=counts.device)
    if rate_at is None or len(frames) == 1 or not len(pixel):
        time = _steady_times(drawn, frames)
    else:
        there = [part.to(device) for part in cells]
        rates = torch.stack([rate_at(frame, *there).to(drawn) for frame in frames])
        own = torch.arange(len(repeats), device=counts.device).repeat_interleave(repeats)
        parts = zip(drawn.split(EVENTS_AT_ONCE), own.split(EVENTS_AT_ONCE), strict=True)
        time = torch.cat([_changing_times(part, frames, rates[:, cell]) for part, cell in parts])
    order = torch.argsort(time, stable=True)
    return EventList(pixel[order], energy[order], time[order]).to(device)


def _rounded_inside(energy: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Energies [n] in single precision held at or above ``low`` and below ``high``, [n] in double precision.

    Rounding must move no energy into the bin before or behind its own.
    """
    least, most = low.float(), torch.nextafter(high.float(), low.float())
    least = torch.where(least.double() < low, torch.nextafter(least, high.float()), least)
    return torch.maximum(torch.minimum(energy, most), least)


def _steady_times(drawn: Tensor, frames: tuple[Frame, ...]) -> Tensor:
    """Times over the frames laid end to end, s after the reference time, for uniform numbers 0..1 [n]."""
    starts, durations = _starts_and_durations(frames, drawn)
    before = durations.cumsum(0) - durations
    lived = drawn * total_duration_s(frames)
    frame = (torch.bucketize(lived, before, right=True) - 1).clamp_min(0)
    return starts[frame] + (lived - before[frame])


def _changing_times(drawn: Tensor, frames: tuple[Frame, ...], rates: Tensor) -> Tensor:
    """Times that follow rates [frame, n], s after the reference time, for uniform numbers 0..1 [n]."""
    starts, durations = _starts_and_durations(frames, drawn)
    # An event that rounding lets happen where no rate is expected falls anywhere.
    rates = torch.where(rates.sum(0) > 0, rates, 1.0)
    expected = rates * durations[:, None]
    after = expected.cumsum(0) / expected.sum(0)
    after[-1] = 1.0
    frame = (after[:-1] <= drawn).sum(0)[None]
    end, own = after.gather(0, frame)[0], (expected / expected.sum(0)).gather(0, frame)[0]
    place = ((drawn - (end - own)) / own.clamp_min(torch.finfo(own.dtype).tiny)).clamp(0.0, 1.0)
    first, last = (edge.gather(0, frame)[0] for edge in _edge_rates(frames, rates))
    # The inverse of the distribution of a density that is linear from ``first`` to ``last``.
    root = (first.square() + (last.square() - first.square()) * place).clamp_min(0.0).sqrt()
    inside = place * (first + last) / (first + root).clamp_min(torch.finfo(own.dtype).tiny)
    return starts[frame[0]] + inside.clamp(0.0, 1.0) * durations[frame[0]]


def _edge_rates(frames: tuple[Frame, ...], rates: Tensor) -> tuple[Tensor, Tensor]:
    """Rates at start and end of each frame [frame, n]: half-way between joined frames, else continued."""
    joined = [
        math.isclose(one.end_s, other.start_s, rel_tol=1e-12, abs_tol=1e-9 * one.duration_s)
        for one, other in pairwise(frames)
    ]
    before = torch.tensor([False, *joined], device=rates.device)[:, None]
    behind = torch.tensor([*joined, False], device=rates.device)[:, None]
    middle = (rates[1:] + rates[:-1]) / 2
    first = torch.where(before, torch.cat((rates[:1], middle)), rates)
    last = torch.where(behind, torch.cat((middle, rates[-1:])), rates)
    first = torch.where(behind & ~before, 2 * rates - last, first)
    last = torch.where(before & ~behind, 2 * rates - first, last)
    return first.clamp_min(0.0), last.clamp_min(0.0)


def _starts_and_durations(frames: tuple[Frame, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Of the frames, s after the reference time, [frame]."""
    kind: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
    starts = torch.tensor([f.start_s for f in frames], **kind)
    return starts, torch.tensor([f.duration_s for f in frames], **kind)
