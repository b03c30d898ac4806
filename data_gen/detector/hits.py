"""From pixel signals to recorded hits: threshold, then addition, discrimination or raw readout.

Input are pixel signals in keV with their probabilities; output are hits and losses. docs/physics.md, section
7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from data_gen.detector.charge import Events

Mode = Literal["addition", "discrimination", "raw"]
MODES: tuple[Mode, ...] = get_args(Mode)

SHARERS = 4
"""Largest signals of an event, each above threshold or not; charge at a corner reaches four pixels."""
_BESIDE = 8
"""Neighbours of a pixel."""
PLACES = 3
"""The middle of the 3x3, its four edges, its four corners: equivalent by symmetry."""

_PLACE = torch.tensor([2, 1, 2, 1, 0, 1, 2, 1, 2])
_JOINED = torch.tensor([[k >> j & 1 for j in range(SHARERS - 1)] for k in range(2 ** (SHARERS - 1))]).bool()
"""Every combination of the second to the fourth largest pixels, [choice, pixel]."""
_LEAST = 1e-9
"""Combinations of pixels above threshold that are less probable are left out."""


@dataclass(frozen=True)
class Threshold:
    """Probability that a pixel is above threshold: an error function of its signal, noise included."""

    at_kev: Tensor
    sigma_kev: Tensor

    def passed(self, signal_kev: Tensor) -> Tensor:
        """Probability of a record, of the shape of ``signal_kev``."""
        return 0.5 * (1 + torch.erf((signal_kev - self.at_kev) / (math.sqrt(2) * self.sigma_kev)))


@dataclass(frozen=True)
class Hits:
    """Recorded hits, [hit] each.

    Args:
        probability: per first interaction.
        energy_kev: mean energies, equally likely, [hit, copy].
        pixels: number of pixels whose noise is in it, 1 to 4.
        unevenness: sum of the squares of these pixels' shares of the energy, 1 for a single pixel.
        place: place in the 3x3, see :data:`PLACES`.
        line: index of the line, one of ``lines``.
        lines: number of lines.
    """

    probability: Tensor
    energy_kev: Tensor
    pixels: Tensor
    unevenness: Tensor
    place: Tensor
    line: Tensor
    lines: int


@dataclass(frozen=True)
class Readout:
    """Outcome of events: the hit of each; hits linked to it; and losses per line by name."""

    hits: Hits
    linked: Hits
    losses: dict[str, Tensor]


def read_out(events: Events, threshold: Threshold, mode: Mode) -> Readout:
    """Record each event in the pixel of the 3x3 with the largest signal, if that passes the threshold.

    "addition" sums the signals of all pixels above threshold in the 3x3 around that pixel; "discrimination"
    rejects events with a second one; "raw" records every pixel above threshold by itself: the largest is the
    event's hit, the others are linked hits.
    """
    middle, around = _neighbours(events.signal_kev.shape[-1])
    inner = events.signal_kev[..., middle]
    if mode == "raw":
        signal, pixel = inner.topk(SHARERS, dim=-1)
    else:
        largest, pixel = inner.max(dim=-1, keepdim=True)
        beside = (events.signal_kev * around[pixel[..., 0]]).topk(_BESIDE, dim=-1).values
        signal = torch.cat((largest, beside), dim=-1)
    passed, place = threshold.passed(signal), _PLACE[pixel]
    seen, others = events.probability * passed[..., 0], passed[..., 1:SHARERS]
    few = signal[..., SHARERS:] * passed[..., SHARERS:]
    signal = signal[..., :SHARERS]
    losses = {"below_threshold": (events.probability - seen).sum(1)}
    if mode == "addition":
        return Readout(_added(seen, signal, others, few, place, events.stretch), _none(events), losses)
    if mode == "discrimination":
        alone = seen * (1 - others).prod(-1)
        losses["discriminated"] = (seen - alone).sum(1)
        return Readout(_single(alone, signal, place, events.stretch, 0), _none(events), losses)
    linked = [
        _single(seen * passed[..., rank], signal, place, events.stretch, rank) for rank in range(1, SHARERS)
    ]
    return Readout(_single(seen, signal, place, events.stretch, 0), _all(linked), losses)


@cache
def _neighbours(pixels: int) -> tuple[Tensor, Tensor]:
    """Of 3x3 or 5x5 pixels: indices of the middle 3x3 [9], and whether each pixel is a neighbour of each of
    those [9, pixel].
    """
    side = math.isqrt(pixels)
    row, column = torch.arange(pixels) // side, torch.arange(pixels) % side
    middle = ((row - side // 2).abs() <= 1) & ((column - side // 2).abs() <= 1)
    middle = middle.nonzero()[:, 0]
    steps = torch.maximum((row[middle, None] - row).abs(), (column[middle, None] - column).abs())
    return middle, steps == 1


def _added(
    seen: Tensor, signal_kev: Tensor, others: Tensor, few_kev: Tensor, place: Tensor, stretch: Tensor
) -> Hits:
    """Sums over every combination of the other pixels with a relevant probability.

    Pixels beyond the four largest, ``few_kev`` [line, event, pixel], give what they do on the mean, without
    noise.
    """
    choices = torch.stack((1 - others, others), dim=-1)
    chance = torch.einsum("lei,lej,lek->lekji", *choices.unbind(2)).flatten(2)
    line, event, choice = (chance.detach() > _LEAST).nonzero(as_tuple=True)
    joined = _JOINED[choice]
    first, others_kev = signal_kev[line, event, 0], signal_kev[line, event, 1:] * joined
    rest_kev = few_kev[line, event]
    energy = first + others_kev.sum(-1) + rest_kev.sum(-1)
    unevenness = (first**2 + (others_kev**2).sum(-1) + (rest_kev**2).sum(-1)) / (energy**2).clamp_min(1e-30)
    return Hits(
        seen[line, event] * chance[line, event, choice],
        energy[:, None] * stretch[line, event],
        1 + joined.sum(-1),
        unevenness,
        place[line, event, 0],
        line,
        len(seen),
    )


def _single(probability: Tensor, signal_kev: Tensor, place: Tensor, stretch: Tensor, rank: int) -> Hits:
    """Hits of the pixel of one rank alone."""
    line, event = (probability.detach() > 0).nonzero(as_tuple=True)
    return Hits(
        probability[line, event],
        signal_kev[line, event, rank, None] * stretch[line, event],
        torch.ones_like(line),
        torch.ones_like(probability[line, event]),
        place[line, event, rank],
        line,
        len(probability),
    )


def _all(hits: list[Hits]) -> Hits:
    """Hits of several lists in one."""
    return Hits(
        torch.cat([one.probability for one in hits]),
        torch.cat([one.energy_kev for one in hits]),
        torch.cat([one.pixels for one in hits]),
        torch.cat([one.unevenness for one in hits]),
        torch.cat([one.place for one in hits]),
        torch.cat([one.line for one in hits]),
        hits[0].lines,
    )


def _none(events: Events) -> Hits:
    """No hits."""
    whole = torch.zeros(0, dtype=torch.int64)
    energy = events.stretch.new_zeros(0, 1)
    return Hits(energy[:, 0], energy, whole, energy[:, 0], whole, whole, len(events.probability))
