"""Lines of photons through the metal around an aperture, and where on them photons stop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from data_gen.scatter.metal.eye import Eye
from data_gen.scatter.metal.path import metal_share
from data_gen.scatter.metal.physics import Metal, at_energy
from data_gen.scatter.metal.stops import Stops, drawn_evenly, placed

BURIED = 1e-4
"""Share of K photons that is taken to get out of metal in any case where places are chosen."""


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
        cls, eye: Eye, start: Tensor, way: Tensor, share: Tensor, photons: Tensor, energy_kev: Tensor
    ) -> MetalLines:
        """Lines about an aperture."""
        u, v, h = (start[..., i, None] + share * way[..., i, None] for i in range(3))
        share, depth = share.expand(h.shape), eye.depth_at(u, v, h)
        return cls(start, way, share, h + eye.half_plate, depth, photons, energy_kev)

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

    def stops(self, number: Tensor, deep: Tensor, photons: Tensor) -> Stops:
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
        return Stops(start + where[..., None] * way, heading, photons, self.energy_kev.gather(1, line))

    def k_stops(self, metal: Metal, count: int, seed: int) -> Stops:
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
        return self.stops(number, draw, weight * torch.exp(-run * draw))
