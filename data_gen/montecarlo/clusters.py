"""Signals of pixels to hits: one event near the first interaction, and what the same photon does beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """Signals of anode pixels above threshold, [k] each."""

    event: Tensor
    row: Tensor
    column: Tensor
    energy_kev: Tensor
    by_home: Tensor
    """Whether the pixel is one of the 3x3 around the first interaction."""

    def take(self, index: Tensor) -> Signals:
        """Those of a mask or an index."""
        return Signals(*(part[index] for part in vars(self).values()))


@dataclass(frozen=True)
class Clusters:
    """What is recorded at pixels, [k] each; ``linked`` marks all that is not the photon's event."""

    signals: Signals
    linked: Tensor


def clusters(seen: Signals, mode: str) -> Clusters:
    """Hits in a mode of readout: "addition", "discrimination" or "raw".

    The event of a photon lies at the largest signal in the 3x3 around its first interaction, and takes the
    3x3 around itself. What is left gives further hits, largest first: they are linked to the event.
    """
    if mode == "raw":
        seen, first = _ranked(seen)
        return Clusters(seen, ~(first & seen.by_home))
    parts: list[Clusters] = []
    while len(seen.event):
        seen, first = _ranked(seen)
        leader = first.nonzero()[:, 0][first.cumsum(0) - 1]
        near = ((seen.row - seen.row[leader]).abs() <= 1) & ((seen.column - seen.column[leader]).abs() <= 1)
        heads = _added(seen, first, near) if mode == "addition" else _alone(seen, first, near)
        linked = ~heads.by_home if not parts else torch.ones_like(heads.by_home)
        parts.append(Clusters(heads, linked))
        seen = seen.take(~near)
    return _together(parts, seen)


def _ranked(seen: Signals) -> tuple[Signals, Tensor]:
    """Signals by photon, those near its first interaction before others and larger before smaller; and
    which are first of their photon."""
    order = torch.argsort(seen.energy_kev, descending=True)
    order = order[torch.argsort((~seen.by_home)[order].long(), stable=True)]
    seen = seen.take(order[torch.argsort(seen.event[order], stable=True)])
    first = torch.ones_like(seen.by_home)
    first[1:] = seen.event[1:] != seen.event[:-1]
    return seen, first


def _added(seen: Signals, first: Tensor, near: Tensor) -> Signals:
    """First signals with all signals near them added."""
    heads = seen.take(first)
    total = torch.zeros_like(heads.energy_kev)
    total.index_add_(0, first.cumsum(0) - 1, seen.energy_kev * near)
    return Signals(heads.event, heads.row, heads.column, total, heads.by_home)


def _alone(seen: Signals, first: Tensor, near: Tensor) -> Signals:
    """First signals that have no others near them."""
    count = torch.zeros(int(first.sum()), dtype=torch.int64, device=first.device)
    count.index_add_(0, first.cumsum(0) - 1, near.long())
    return seen.take(first).take(count == 1)


def _together(parts: Sequence[Clusters], none: Signals) -> Clusters:
    """All clusters of some rounds; ``none`` is what there is if there are no rounds."""
    if not parts:
        return Clusters(none, none.by_home)
    columns = zip(*(vars(part.signals).values() for part in parts), strict=True)
    return Clusters(Signals(*(torch.cat(c) for c in columns)), torch.cat([part.linked for part in parts]))
