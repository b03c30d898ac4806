"""Interactions of photons in metal, and where on a line through metal they happen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.projector.sampling import shifted_points

AT_ONCE = 20_000
"""Stops that are looked at together."""


@dataclass(frozen=True)
class Stops:
    """Interactions of photons from a few voxels, [voxel, stop, ...] each, in the frame of an ``Eye``."""

    place: Tensor
    """(u, v, h) mm."""
    heading: Tensor
    """Unit vector of the direction before."""
    photons: Tensor
    """Photons that stop per photon emitted."""
    energy_kev: Tensor
    """Before the stop."""

    def pieces(self, *beside: Tensor) -> Iterator[tuple[Stops, tuple[Tensor, ...]]]:
        """The stops of a few voxels at a time, so few that they stay in the cache, and tensors beside."""
        step = max(1, AT_ONCE // self.photons.shape[1])
        parts = (t.split(step) for t in (self.place, self.heading, self.photons, self.energy_kev, *beside))
        for place, heading, photons, energy, *others in zip(*parts, strict=True):
            yield Stops(place, heading, photons, energy), tuple(others)

    def take(self, index: Tensor, photons: Tensor) -> Stops:
        """Stops of numbers [voxel, stop] that stand for so many photons."""
        vector = index[..., None].expand(-1, -1, 3)
        place, heading = (part.gather(1, vector) for part in (self.place, self.heading))
        return Stops(place, heading, photons, self.energy_kev.gather(1, index))


def together(parts: list[Stops]) -> Stops:
    """The stops of all, voxel by voxel."""
    place, heading = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("place", "heading"))
    photons, energy = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("photons", "energy_kev"))
    return Stops(place, heading, photons, energy)


def drawn_evenly(importance: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers drawn evenly from their importance [..., n], and an even draw for each, [..., count]."""
    shape = (*importance.shape[:-1], count)
    draw = shifted_points(importance[..., 0].numel() * count, 2, seed).to(importance.dtype)
    draw = draw.reshape(*shape, 2)
    level = (torch.arange(count) + draw[..., 0]) / count
    total = importance.cumsum(dim=-1)
    chosen = torch.searchsorted(total, level * total[..., -1:]).clamp_max(importance.shape[-1] - 1)
    return chosen, draw[..., 1].contiguous()


def placed(share: Tensor, metal_first: Tensor, part: Tensor, deep: Tensor) -> Tensor:
    """Where on a line the metal of a step has been run through to ``deep``, as a share of the line.

    Args:
        share: ends of the step as shares of the line, [..., 2].
        metal_first: whether the metal lies at the step's beginning, else at its end.
        part: share of the step in metal.
        deep: share of the metal run through, 0..1.
    """
    step = share[..., 1] - share[..., 0]
    begin = torch.where(metal_first, share[..., 0], share[..., 1] - part * step)
    return begin + deep * part * step


def drawn_depth(run: Tensor, draw: Tensor) -> Tensor:
    """How deep photons stop that stop within a run, both in mean free paths, by even draws in 0..1."""
    return -torch.log1p(draw * torch.expm1(-run)).clamp_max(0)
