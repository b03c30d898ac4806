"""Aims at the detector and the nearest aperture from within a collimator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_gen.montecarlo.aim import area_per_steradian, to_detector, to_detector_per_steradian, towards
from data_gen.montecarlo.chance import uniform
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.zones import Zones, near_waists


class InsideAim:
    """From within a collimator: points of the detector, and from in front of the waists (half the time) the
    nearest waist and a zone around it; in the panel's coordinates."""

    def __init__(self, panel: Panel, metal: Medium) -> None:
        self.panel, self.zones = panel, Zones([panel], metal)

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See ``Aim``."""
        way = to_detector(self.panel, place, generator)
        chosen = uniform(len(place), generator) < self._share(place)
        index = chosen.nonzero()[:, 0]
        random = torch.rand(2, len(index), generator=generator, dtype=place.dtype, device=place.device)
        centre, reach = self._target(place[index], energy_kev[index])
        radius, turn = reach * random[0].sqrt(), 2 * math.pi * random[1]
        on_disk = centre + torch.stack((radius * turn.cos(), radius * turn.sin()), dim=1)
        plane = torch.full_like(on_disk[:, :1], self.panel.plane_mm)
        way[index] = towards(place[index], torch.cat((on_disk, plane), dim=1))
        return way

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:
        """See ``Aim``."""
        share = self._share(place)
        density = (1 - share) * to_detector_per_steradian(self.panel, place, way)
        near, cross = near_waists(self.panel, place, way, self.zones.widths_mm(energy_kev)[1])
        centre, reach = self._target(place[near], energy_kev[near])
        hit = (cross - centre).norm(dim=1) <= reach
        rise = self.panel.plane_mm - place[near, 2]
        disk = hit * share[near] / (math.pi * reach.square()) * area_per_steradian(rise, way[near, 2])
        return density.index_add(0, near, disk)

    def _share(self, place: Tensor) -> Tensor:
        """How often waists are aimed at."""
        return 0.5 * (place[:, 2] < self.panel.plane_mm - 1e-6).to(place.dtype)

    def _target(self, place: Tensor, energy_kev: Tensor) -> tuple[Tensor, Tensor]:
        """Centre [n, 2] and radius [n] of the disk about the waist whose axis is nearest."""
        holes = self.panel.holes
        above = (place[:, 2] - self.panel.plane_mm)[:, None, None]
        off = place[:, None, :2] - holes.centre - holes.slope * above
        nearest = off.square().sum(-1).argmin(dim=1)
        return holes.centre[nearest], holes.radius[nearest] + self.zones.widths_mm(energy_kev)[1]
