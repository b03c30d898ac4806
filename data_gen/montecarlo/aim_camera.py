"""Aims at the apertures and detectors of a camera, from the object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from data_gen.montecarlo.aim import (
    area_per_steradian,
    to_detector_per_steradian,
    towards,
)
from data_gen.montecarlo.chance import uniform
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.zones import FOLDS, Zones, near_waists

_LEAST_SHARES = (0.05, 0.05, 0.1, 0.05)
"""Of waists, their two zones and the detectors, so that no weight is very large."""


class CameraAim:
    """Waists, the zones around them, and the detectors of all panels of a stop, each as often as photons come
    that way; in space.

    Args:
        panels: of one stop.
        metal: of the collimator.
    """

    def __init__(self, panels: Sequence[Panel], metal: Medium) -> None:
        self.panels, self.metal, self.zones = panels, metal, Zones(panels, metal)
        self.owner = torch.cat([torch.full_like(p.holes.radius, k) for k, p in enumerate(panels)]).long()
        self.centre = torch.cat([_waists_in_space(p) for p in panels])
        self.radius = torch.cat([p.holes.radius for p in panels])
        self.axes = torch.stack([p.axes for p in panels])
        self.middle = torch.stack([p.middle for p in panels])
        self.half_size = self.radius.new_tensor([p.half_size for p in panels]) + panels[0].depth_mm

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See ``Aim``."""
        choice = (uniform(len(place), generator) > self._shares(energy_kev).cumsum(0)[:3]).sum(0)
        random = torch.rand(4, len(place), generator=generator, dtype=place.dtype, device=place.device)
        hole = (random[0] * len(self.radius)).to(torch.int64)
        at_detector = choice == len(FOLDS)
        width = self.zones.widths_mm(energy_kev).gather(0, choice.clamp_max(len(FOLDS) - 1)[None])[0]
        radius, turn = (self.radius[hole] + width) * random[1].sqrt(), 2 * math.pi * random[2]
        panel = torch.where(at_detector, (random[3] * len(self.panels)).to(torch.int64), self.owner[hole])
        spread = (2 * random[1:3].T - 1) * self.half_size[panel]
        on_disk = torch.stack((radius * turn.cos(), radius * turn.sin()), dim=1)
        local = torch.where(at_detector[:, None], spread, on_disk)
        centre = torch.where(at_detector[:, None], self.middle[panel], self.centre[hole])
        axes = self.axes[panel]
        return towards(place, centre + local[:, :1] * axes[:, 0] + local[:, 1:] * axes[:, 1])

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:
        """See ``Aim``."""
        shares, widths = self._shares(energy_kev), self.zones.widths_mm(energy_kev)
        total = torch.zeros_like(energy_kev)
        for panel in self.panels:
            at, local = panel.turned(place, way)
            total += shares[-1] / len(self.panels) * to_detector_per_steradian(panel, at, local)
            near, cross = near_waists(panel, at, local, widths[-1])
            off = (cross[:, None] - panel.holes.centre).norm(dim=2)
            per_area = torch.zeros_like(off[:, 0])
            for share, width in zip(shares[:-1, near], widths[:, near], strict=True):
                reach = panel.holes.radius + width[:, None]
                per_area += share * ((off <= reach) / (math.pi * reach.square())).sum(1)
            rise = panel.plane_mm - at[near, 2]
            density = per_area / len(self.radius) * area_per_steradian(rise, local[near, 2])
            total.index_add_(0, near, density)
        return total

    def importance(self, energy_kev: Tensor) -> Tensor:
        """About the share of decays' photons that reach the detectors unscattered, [n]."""
        return self._steradians(energy_kev).sum(0) / (4 * math.pi)

    def _steradians(self, energy_kev: Tensor) -> Tensor:
        """What waists, the narrow zones and the bare plates are worth, [3, n]."""
        first = self.panels[0]
        fold, radius = self.zones.fold_mm(energy_kev).clamp_max(first.half_plate_mm), self.radius.mean()
        waists = len(self.radius) * math.pi / first.plane_mm**2
        plates = 4 * first.half_size[0] * first.half_size[1] * len(self.panels) / first.detector_mm**2
        through = torch.exp(-2 * first.half_plate_mm * self.metal.per_mm(energy_kev))
        parts = (waists * radius**2, 2 * waists * fold * (radius + fold), plates * through)
        return torch.stack([torch.as_tensor(part).expand_as(fold) for part in parts]).clamp_max(2 * math.pi)

    def _shares(self, energy_kev: Tensor) -> Tensor:
        """How often each target is drawn, [4, n]."""
        worth = self._steradians(energy_kev)
        worth = (1 - sum(_LEAST_SHARES)) * worth / worth.sum(0)
        worth = torch.cat((worth[:2], torch.zeros_like(worth[:1]), worth[2:]))
        return worth + worth.new_tensor(_LEAST_SHARES)[:, None]


def _waists_in_space(panel: Panel) -> Tensor:
    """Centres of a panel's waists in space, [hole, 3]."""
    back = (panel.plane_mm - panel.detector_mm) * panel.axes[2]
    return panel.middle + back + panel.holes.centre @ panel.axes[:2]
