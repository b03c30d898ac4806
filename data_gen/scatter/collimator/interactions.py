"""Straight paths of photons through the metal around an aperture, and interactions sampled on them.

Coordinates (u, v, h) in mm of the aperture's panel; weights are photons per photon emitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data_gen.projector.sampling import shifted_points
from data_gen.scatter.collimator.cross_sections import Metal, at_energy
from data_gen.scatter.collimator.geometry import ApertureGeometry, metal_share

AT_ONCE = 20_000
"""Interactions that are processed together."""


@dataclass(frozen=True)
class Interactions:
    """Interactions of photons from a few voxels, [voxel, interaction, ...], in the frame of an aperture."""

    place: Tensor
    """(u, v, h) mm."""
    heading: Tensor
    """Unit vector of the direction before."""
    photons: Tensor
    """Photons that stop per photon emitted."""
    energy_kev: Tensor
    """Before the stop."""

    def pieces(self, *beside: Tensor) -> Iterator[tuple[Interactions, tuple[Tensor, ...]]]:
        """The stops of a few voxels at a time, so few that they stay in the cache, and tensors beside."""
        step = max(1, AT_ONCE // self.photons.shape[1])
        parts = (t.split(step) for t in (self.place, self.heading, self.photons, self.energy_kev, *beside))
        for place, heading, photons, energy, *others in zip(*parts, strict=True):
            yield Interactions(place, heading, photons, energy), tuple(others)

    def take(self, index: Tensor, photons: Tensor) -> Interactions:
        """Stops of numbers [voxel, stop] that stand for so many photons."""
        vector = index[..., None].expand(-1, -1, 3)
        place, heading = (part.gather(1, vector) for part in (self.place, self.heading))
        return Interactions(place, heading, photons, self.energy_kev.gather(1, index))


def together(parts: list[Interactions]) -> Interactions:
    """The stops of all, voxel by voxel."""
    place, heading = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("place", "heading"))
    photons, energy = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("photons", "energy_kev"))
    return Interactions(place, heading, photons, energy)


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


BURIED = 1e-4
"""Escape probability of K X-rays assumed in any case where interactions are selected."""


@dataclass(frozen=True)
class MetalLines:
    """Straight lines in steps, [voxel, line, ...] each."""

    start: Tensor
    """(u, v, h) mm."""
    way: Tensor
    """From there to the end, mm."""
    share: Tensor
    """Ends of the steps as shares of the way, [..., step + 1]."""
    height: Tensor
    """Of these ends above the plate's front, mm."""
    depth: Tensor
    """Signed distance mm of these ends from the nearest surface, positive in metal."""
    photons: Tensor
    """That set out, per photon emitted."""
    energy_kev: Tensor

    @classmethod
    def of(
        cls,
        geometry: ApertureGeometry,
        start: Tensor,
        way: Tensor,
        share: Tensor,
        photons: Tensor,
        energy_kev: Tensor,
    ) -> MetalLines:
        """Lines about an aperture."""
        u, v, h = (start[..., i, None] + share * way[..., i, None] for i in range(3))
        share, depth = share.expand(h.shape), geometry.depth_at(u, v, h)
        return cls(start, way, share, h + geometry.half_plate, depth, photons, energy_kev)

    @cached_property
    def part(self) -> Tensor:
        """Share of each step in metal."""
        return metal_share(self.depth)

    @cached_property
    def length(self) -> Tensor:
        """Metal in each step, mm."""
        length: Tensor = self.part * self.share.diff() * self.way.norm(dim=-1, keepdim=True)
        return length

    @cached_property
    def heading(self) -> Tensor:
        """Unit vectors."""
        heading: Tensor = self.way / self.way.norm(dim=-1, keepdim=True)
        return heading

    def entering(self, mu: Tensor) -> Tensor:
        """Photons that come to each step, for an attenuation 1/mm of [voxel, line]."""
        before = self.length.cumsum(dim=-1) - self.length
        return self.photons[..., None] * torch.exp(-mu[..., None] * before)

    def interactions(self, number: Tensor, deep: Tensor, photons: Tensor) -> Interactions:
        """Stops in steps [voxel, stop] of all lines' (line * steps + step), so deep (0..1) in their metal."""
        steps = self.length.shape[-1]
        line, step = number // steps, number % steps
        node = line * (steps + 1) + step

        def of(table: Tensor, place: Tensor) -> Tensor:
            return table.flatten(1).gather(1, place)

        ends = torch.stack((of(self.share, node), of(self.share, node + 1)), dim=-1)
        where = placed(ends, of(self.depth, node) > 0, of(self.part, number), deep)
        vector = line[..., None].expand(-1, -1, 3)
        start, way, heading = (v.gather(1, vector) for v in (self.start, self.way, self.heading))
        return Interactions(start + where[..., None] * way, heading, photons, self.energy_kev.gather(1, line))

    def k_stops(self, metal: Metal, count: int, seed: int) -> Interactions:
        """So many stops from each voxel that stand for all of whose K photons some may get out."""
        mu = metal.per_mm(self.energy_kev)
        mu_out = metal.per_mm(metal.k_kev).amax() if len(metal.k_kev) else torch.ones(())
        deep, height = ((t[..., 1:] + t[..., :-1]) / 2 for t in (self.depth.relu(), self.height))
        behind = deep < (1 - 1e-4) * height  # photons that leave by the front do not come back
        escape = torch.exp(-mu_out.to(deep.dtype) * deep) * behind + BURIED
        stopping = self.entering(mu) * mu[..., None] * self.length
        sent = at_energy(metal.k_photons.sum(dim=0), self.energy_kev)[..., None]
        importance = stopping * sent * escape + 1e-30
        number, draw = drawn_evenly(importance.flatten(1), count, seed)

        def of(table: Tensor) -> Tensor:
            return table.flatten(1).gather(1, number)

        weight = importance.sum(dim=(1, 2))[:, None] / count * of(stopping / importance)
        run = of(mu[..., None] * self.length)
        return self.interactions(number, draw, weight * torch.exp(-run * draw))
