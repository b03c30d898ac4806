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
    """Interactions in the metal of photons from a few voxels, [voxel, interaction, ...], in the frame of an
    aperture.
    """

    place: Tensor
    """(u, v, h) mm."""
    heading: Tensor
    """Unit vector of the direction before."""
    photons: Tensor
    """Interacting photons per photon emitted."""
    energy_kev: Tensor
    """Before the interaction."""

    def pieces(self, *beside: Tensor) -> Iterator[tuple[Interactions, tuple[Tensor, ...]]]:
        """The interactions of a few voxels at a time, few enough for the processor's cache, with other
        tensors.
        """
        step = max(1, AT_ONCE // self.photons.shape[1])
        parts = (t.split(step) for t in (self.place, self.heading, self.photons, self.energy_kev, *beside))
        for place, heading, photons, energy, *others in zip(*parts, strict=True):
            yield Interactions(place, heading, photons, energy), tuple(others)

    def take(self, index: Tensor, photons: Tensor) -> Interactions:
        """Interactions [voxel, interaction] selected by index, with new weights."""
        vector = index[..., None].expand(-1, -1, 3)
        place, heading = (part.gather(1, vector) for part in (self.place, self.heading))
        return Interactions(place, heading, photons, self.energy_kev.gather(1, index))


def concatenated(parts: list[Interactions]) -> Interactions:
    """All interactions of several parts, voxel by voxel."""
    place, heading = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("place", "heading"))
    photons, energy = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("photons", "energy_kev"))
    return Interactions(place, heading, photons, energy)


def drawn_evenly(importance: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices sampled systematically in proportion to importance [..., n], and a uniform number for each,
    [..., count].
    """
    shape = (*importance.shape[:-1], count)
    draw = shifted_points(importance[..., 0].numel() * count, 2, seed).to(importance.dtype)
    draw = draw.reshape(*shape, 2)
    level = (torch.arange(count) + draw[..., 0]) / count
    total = importance.cumsum(dim=-1)
    chosen = torch.searchsorted(total, level * total[..., -1:]).clamp_max(importance.shape[-1] - 1)
    return chosen, draw[..., 1].contiguous()


def placed(share: Tensor, metal_first: Tensor, part: Tensor, deep: Tensor) -> Tensor:
    """Position on a path, as a fraction of it, where a fraction ``deep`` of a step's metal has been crossed.

    Args:
        share: ends of the step as fractions of the path, [..., 2].
        metal_first: whether the metal is at the beginning of the step, else at its end.
        part: fraction of the step in metal.
        deep: fraction of the metal crossed, 0..1.
    """
    step = share[..., 1] - share[..., 0]
    begin = torch.where(metal_first, share[..., 0], share[..., 1] - part * step)
    return begin + deep * part * step


def drawn_depth(run: Tensor, draw: Tensor) -> Tensor:
    """Depth of interactions within a thickness, both in mean free paths, sampled by uniform numbers
    in 0..1.
    """
    return -torch.log1p(draw * torch.expm1(-run)).clamp_max(0)


BURIED = 1e-4
"""Escape probability of K X-rays assumed in any case where interactions are selected."""


@dataclass(frozen=True)
class CollimatorPaths:
    """Straight paths divided into steps, [voxel, path, ...] each."""

    start: Tensor
    """(u, v, h) mm."""
    way: Tensor
    """From there to the end, mm."""
    share: Tensor
    """Ends of the steps as fractions of the path, [..., step + 1]."""
    height: Tensor
    """Height of these ends above the plate's front, mm."""
    depth: Tensor
    """Signed distance mm of these ends from the nearest surface, positive in metal."""
    photons: Tensor
    """Photons that start, per photon emitted."""
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
    ) -> CollimatorPaths:
        """Paths around an aperture."""
        u, v, h = (start[..., i, None] + share * way[..., i, None] for i in range(3))
        share, depth = share.expand(h.shape), geometry.depth_at(u, v, h)
        return cls(start, way, share, h + geometry.half_plate, depth, photons, energy_kev)

    @cached_property
    def part(self) -> Tensor:
        """Fraction of each step in metal."""
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
        """Photons that reach each step, for an attenuation 1/mm of [voxel, path]."""
        before = self.length.cumsum(dim=-1) - self.length
        return self.photons[..., None] * torch.exp(-mu[..., None] * before)

    def interactions(self, number: Tensor, deep: Tensor, photons: Tensor) -> Interactions:
        """Interactions in steps [voxel, interaction] (path * steps + step), at a fraction (0..1) of their
        metal.
        """
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

    def k_interactions(self, metal: Metal, count: int, seed: int) -> Interactions:
        """Interactions of each voxel, sampled to represent all whose K X-rays may escape."""
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
