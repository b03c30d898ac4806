"""Interactions of photons in metal, and where on a line through metal they happen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.projector.sampling import shifted_points


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


def drawn_depth(
    length: Tensor, mu: Tensor, mu_out: float, outward: Tensor, draw: Tensor
) -> tuple[Tensor, Tensor]:
    """How deep in metal photons stop, and photons that each depth stands for, per photon that enters.

    K photons get out of a thin layer only, so some stops are drawn close to the far end.

    Args:
        length: of the metal, mm.
        mu: attenuation of the photons, 1/mm.
        mu_out: of K photons, 1/mm.
        outward: share of stops drawn by depth from the far end.
        draw: even, 0..1.
    """
    length = length.clamp_min(1e-9)
    stopping, leaving = -torch.expm1(-mu * length), -torch.expm1(-mu_out * length)
    from_end = draw < outward
    even = torch.where(from_end, draw / outward.clamp_min(1e-9), (draw - outward) / (1 - outward))
    onward = -torch.log1p(-even.clamp(0, 1) * stopping) / mu
    back = length + torch.log1p(-even.clamp(0, 1) * leaving) / mu_out
    deep = torch.where(from_end, back, onward).clamp_min(0).minimum(length)
    law = mu * torch.exp(-mu * deep)
    drawn = (1 - outward) * law / stopping + outward * mu_out * torch.exp(mu_out * (deep - length)) / leaving
    return deep, law / drawn
