"""From pixel signals to what is recorded: threshold, then addition, discrimination or every hit by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from data_gen.detector.charge import PIXELS
from data_gen.detector.events import Events

Mode = Literal["addition", "discrimination", "raw"]
MODES: tuple[Mode, ...] = get_args(Mode)

SHARERS = 4
"""Pixels, of rising rank in signal, that take part in an event; charge at a corner reaches four."""
PLACES = 3
"""The middle of the 3x3, its four edges, its four corners: alike by symmetry."""

_PLACE = torch.tensor([2, 1, 2, 1, 0, 1, 2, 1, 2])
_ROW = torch.arange(PIXELS) // 3
_NEIGHBOURS = ((_ROW[:, None] - _ROW).abs() <= 1) & (
    (torch.arange(PIXELS)[:, None] % 3 - torch.arange(PIXELS) % 3).abs() <= 1
)
_JOINED = torch.tensor([[k >> j & 1 for j in range(SHARERS - 1)] for k in range(2 ** (SHARERS - 1))]).bool()
"""Every choice of the second to the fourth largest pixels, [choice, pixel]."""
_LEAST = 1e-9


@dataclass(frozen=True)
class Threshold:
    """Chance that a pixel is seen: an error function of its signal, noise included."""

    at_kev: Tensor
    sigma_kev: Tensor

    def passed(self, signal_kev: Tensor) -> Tensor:
        """Of the shape of ``signal_kev``."""
        return 0.5 * (1 + torch.erf((signal_kev - self.at_kev) / (math.sqrt(2) * self.sigma_kev)))


@dataclass(frozen=True)
class Hits:
    """Recorded hits, [hit] each: probability, mean energy in keV, pixels whose noise it holds (1 to 4),
    place in the 3x3 (see :data:`PLACES`) and line."""

    probability: Tensor
    energy_kev: Tensor
    pixels: Tensor
    place: Tensor
    line: Tensor


@dataclass(frozen=True)
class Readout:
    """What becomes of events: their one hit; hits linked to it; and losses per line by name."""

    hits: Hits
    linked: Hits
    losses: dict[str, Tensor]
    lines: int


def read_out(events: Events, threshold: Threshold, mode: Mode) -> Readout:
    """Record each event in the pixel of its largest signal, if that passes the threshold.

    "addition" sums the signals of all pixels above threshold in the 3x3 around that pixel; "discrimination"
    rejects events with a second one; "raw" takes every pixel above threshold for itself: the largest is the
    event's hit, the others are linked hits.
    """
    signal, pixel = events.signal_kev.topk(SHARERS, dim=-1)
    passed = threshold.passed(signal)
    seen = events.probability * passed[..., 0]
    around = _NEIGHBOURS[pixel[..., :1], pixel[..., 1:]]
    others = passed[..., 1:] * around
    losses = {"below_threshold": (events.probability - seen).sum(1)}
    place, lines = _PLACE[pixel], len(signal)
    if mode == "addition":
        return Readout(_added(seen, signal, others, place[..., 0]), _none(signal), losses, lines)
    if mode == "discrimination":
        alone = seen * (1 - others).prod(-1)
        losses["discriminated"] = (seen - alone).sum(1)
        return Readout(_single(alone, signal[..., 0], place[..., 0]), _none(signal), losses, lines)
    linked = _single(seen[..., None] * passed[..., 1:], signal[..., 1:], place[..., 1:])
    return Readout(_single(seen, signal[..., 0], place[..., 0]), linked, losses, lines)


def _added(seen: Tensor, signal_kev: Tensor, others: Tensor, place: Tensor) -> Hits:
    """Sums over every choice of the other pixels that is likely at all."""
    choices = torch.stack((1 - others, others), dim=-1)
    chance = torch.einsum("lei,lej,lek->lekji", *choices.unbind(2)).flatten(2)
    line, event, choice = (chance.detach() > _LEAST).nonzero(as_tuple=True)
    joined = _JOINED[choice]
    energy = signal_kev[line, event, 0] + (signal_kev[line, event, 1:] * joined).sum(-1)
    probability = seen[line, event] * chance[line, event, choice]
    return Hits(probability, energy, 1 + joined.sum(-1), place[line, event], line)


def _single(probability: Tensor, energy_kev: Tensor, place: Tensor) -> Hits:
    """Hits of one pixel, [line, ...] each."""
    used = probability.detach() > _LEAST * 1e-3
    line = used.nonzero(as_tuple=True)[0]
    return Hits(probability[used], energy_kev[used], torch.ones_like(line), place[used], line)


def _none(signal_kev: Tensor) -> Hits:
    """No hits."""
    empty, whole = signal_kev.new_zeros(0), torch.zeros(0, dtype=torch.int64)
    return Hits(empty, empty, whole, whole, whole)
