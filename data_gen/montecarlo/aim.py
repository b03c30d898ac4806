"""Directions drawn towards what counts, with the exact density of what is drawn."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from data_gen.montecarlo.angles import isotropic
from data_gen.montecarlo.chance import uniform
from data_gen.montecarlo.panel import Panel


class Aim(Protocol):
    """A density of directions that depends on place and energy."""

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """Unit vectors [n, 3] for photons at ``place`` [n, 3]."""

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:
        """Density [n] of what :meth:`draw` draws."""


def emitted(
    aim: Aim, place: Tensor, energy_kev: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Directions of emission, a ``share`` of them in all directions and the rest aimed.

    Returns:
        Unit vectors [n, 3] and weights [n].
    """
    way = isotropic(len(energy_kev), generator)
    if share >= 1:
        return way, torch.ones_like(energy_kev)
    aimed = (uniform(len(energy_kev), generator) >= share).nonzero()[:, 0]
    way[aimed] = aim.draw(place[aimed], energy_kev[aimed], generator)
    mixed = share + (1 - share) * 4 * math.pi * aim.per_steradian(place, way, energy_kev)
    return way, 1 / mixed


def to_detector(panel: Panel, place: Tensor, generator: torch.Generator) -> Tensor:
    """Directions (local) to points drawn evenly on a panel's detector, [n, 3].

    Around it, too, by its depth, since photons also enter at the sides.
    """
    random = torch.rand(len(place), 2, generator=generator, dtype=place.dtype, device=place.device)
    target = (2 * random - 1) * (place.new_tensor(panel.half_size) + panel.depth_mm)
    face = torch.full_like(target[:, :1], panel.detector_mm)
    return towards(place, torch.cat((target, face), dim=1))


def to_detector_per_steradian(panel: Panel, place: Tensor, way: Tensor) -> Tensor:
    """Density [n] of :func:`to_detector`."""
    rise = panel.detector_mm - place[:, 2]
    a, b = panel.on_face(place, way).abs().unbind(dim=1)
    half_a, half_b = (half + panel.depth_mm for half in panel.half_size)
    hit = (a <= half_a) & (b <= half_b) & (rise * way[:, 2] > 0)
    return hit * area_per_steradian(rise, way[:, 2]) / (4 * half_a * half_b)


def towards(place: Tensor, target: Tensor) -> Tensor:
    """Unit vectors from places to targets."""
    way = target - place
    unit: Tensor = way / way.norm(dim=1, keepdim=True)
    return unit


def area_per_steradian(rise: Tensor, cosine: Tensor) -> Tensor:
    """Area per steradian on a plane ``rise`` away (along its normal), where rays cross it."""
    cosine = torch.where(cosine.abs() < 1e-12, 1e-12, cosine)
    return (rise / cosine).square() / cosine.abs()
