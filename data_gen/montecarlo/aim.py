"""Directions drawn towards what counts, with the exact density of what is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from data_gen.montecarlo.angles import isotropic
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel

_FOLDS = 3.0
"""Width of the zone aimed at around an aperture, in distances over which transmission falls by e."""
_LEAST_SHARE = 0.05
"""Of each target, so that no weight is very large."""


class Aim(Protocol):
    """A density of directions that depends on place and energy."""

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """Unit vectors [n, 3] for photons at ``place`` [n, 3]."""

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:
        """Density [n] of what :meth:`draw` draws."""


class DetectorAim:
    """Points drawn evenly on the detector of one panel, in the panel's coordinates."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Aim`."""
        random = torch.rand(len(energy_kev), 2, generator=generator, dtype=place.dtype, device=place.device)
        target = (2 * random - 1) * place.new_tensor(self.panel.half_size)
        return _towards(place, torch.cat((target, torch.full_like(target[:, :1], self.panel.detector_mm)), 1))

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Aim`."""
        rise = self.panel.detector_mm - place[:, 2]
        a, b = self.panel.on_face(place, way).abs().unbind(dim=1)
        half_a, half_b = self.panel.half_size
        hit = (a <= half_a) & (b <= half_b) & (rise * way[:, 2] > 0)
        return hit * _steradian(rise, way[:, 2]) / (4 * half_a * half_b)


class CameraAim:
    """Waists of the apertures, the zones around them that photons penetrate, and the detectors of all panels
    of a stop, each as often as photons come that way; in space.

    Args:
        panels: of one stop.
        metal: of the collimator.
    """

    def __init__(self, panels: Sequence[Panel], metal: Medium) -> None:
        self.panels, self.metal = panels, metal
        self.holes = sum(len(panel.holes.radius) for panel in panels)
        self.owner = torch.cat([torch.full_like(p.holes.radius, k) for k, p in enumerate(panels)]).long()
        self.centre = torch.cat([self._in_space(p) for p in panels])
        self.radius = torch.cat([p.holes.radius for p in panels])
        self.axes = torch.stack([p.axes for p in panels])
        self.middle = torch.stack([p.middle for p in panels])

    def draw(self, place: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`Aim`."""
        count = len(energy_kev)
        random = torch.rand(5, count, generator=generator, dtype=place.dtype, device=place.device)
        choice = (random[0] > self._shares(energy_kev).cumsum(0)[:2]).sum(0)
        hole = (random[1] * self.holes).to(torch.int64)
        reach = self.radius[hole] + torch.where(choice == 1, self._zone_mm(energy_kev), 0.0)
        radius, turn = reach * random[2].sqrt(), 2 * math.pi * random[3]
        at_panel = choice == 2
        panel = torch.where(at_panel, (random[1] * len(self.panels)).to(torch.int64), self.owner[hole])
        half = place.new_tensor([p.half_size for p in self.panels])[panel]
        u = torch.where(at_panel, (2 * random[2] - 1) * half[:, 0], radius * turn.cos())
        v = torch.where(at_panel, (2 * random[4] - 1) * half[:, 1], radius * turn.sin())
        centre = torch.where(at_panel[:, None], self.middle[panel], self.centre[hole])
        axes = self.axes[panel]
        return _towards(place, centre + u[:, None] * axes[:, 0] + v[:, None] * axes[:, 1])

    def per_steradian(self, place: Tensor, way: Tensor, energy_kev: Tensor) -> Tensor:
        """See :class:`Aim`."""
        shares, zone = self._shares(energy_kev), self._zone_mm(energy_kev)
        total = torch.zeros_like(energy_kev)
        for panel in self.panels:
            at = place @ panel.axes.T - (panel.middle @ panel.axes.T)
            at[:, 2] += panel.detector_mm
            local = way @ panel.axes.T
            detector = DetectorAim(panel).per_steradian(at, local, energy_kev) / len(self.panels)
            total += shares[2] * detector
            index = self._near(panel, at, local, zone)
            at, local, wide = at[index], local[index], zone[index]
            rise = panel.plane_mm - at[:, 2]
            cross = at[:, :2] + local[:, :2] * (rise / local[:, 2])[:, None]
            off = (cross[:, None] - panel.holes.centre).square().sum(-1)
            inner, outer = panel.holes.radius, panel.holes.radius + wide[:, None]
            waist = ((off <= inner**2) / (math.pi * inner**2)).sum(1)
            around = ((off <= outer**2) / (math.pi * outer**2)).sum(1)
            mixed = (shares[0, index] * waist + shares[1, index] * around) / self.holes
            total.index_add_(0, index, mixed * _steradian(rise, local[:, 2]))
        return total

    def importance(self, energy_kev: Tensor) -> Tensor:
        """About the share of decays' photons that reach the detectors unscattered, [n]."""
        return self._parts(energy_kev).sum(0) / (4 * math.pi)

    def _near(self, panel: Panel, place: Tensor, way: Tensor, zone: Tensor) -> Tensor:
        """Photons (local) that cross the plane of the waists near an aperture."""
        rise = panel.plane_mm - place[:, 2]
        run = rise / torch.where(way[:, 2].abs() < 1e-12, 1e-12, way[:, 2])
        cross = place[:, :2] + way[:, :2] * run[:, None]
        far = panel.holes.centre.abs().amax(0) + panel.holes.radius.max()
        near = (cross.abs() <= far + zone[:, None]).all(dim=1) & (run > 0)
        return near.nonzero()[:, 0]

    def _in_space(self, panel: Panel) -> Tensor:
        """Centres of a panel's waists, [hole, 3]."""
        back = (panel.plane_mm - panel.detector_mm) * panel.axes[2]
        return panel.middle + back + panel.holes.centre @ panel.axes[:2]

    def _fold_mm(self, energy_kev: Tensor) -> Tensor:
        tangent = max(float(panel.holes.tangent.max()) for panel in self.panels)
        return tangent / (2 * self.metal.per_mm(energy_kev))

    def _zone_mm(self, energy_kev: Tensor) -> Tensor:
        """Width of the zone around a waist that photons penetrate."""
        opening = max(float(p.holes.tangent.max()) * p.half_plate_mm for p in self.panels)
        return (_FOLDS * self._fold_mm(energy_kev)).clamp_max(opening)

    def _parts(self, energy_kev: Tensor) -> Tensor:
        """Steradians that waists, zones and bare plates are worth, [3, n]."""
        first = self.panels[0]
        fold, radius = self._fold_mm(energy_kev).clamp_max(first.half_plate_mm), self.radius.mean()
        waists = self.holes * math.pi / first.plane_mm**2
        area = 4 * first.half_size[0] * first.half_size[1] * len(self.panels)
        plates = area / first.detector_mm**2
        through = torch.exp(-2 * first.half_plate_mm * self.metal.per_mm(energy_kev))
        return torch.stack(
            (
                (waists * radius**2).expand_as(fold),
                2 * waists * fold * (radius + fold),
                (plates * through).clamp_max(2 * math.pi),
            )
        )

    def _shares(self, energy_kev: Tensor) -> Tensor:
        """How often each target is drawn, [3, n]."""
        parts = self._parts(energy_kev)
        return (1 - 3 * _LEAST_SHARE) * parts / parts.sum(0) + _LEAST_SHARE


def emitted(
    aim: Aim, place: Tensor, energy_kev: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Directions of emission, a ``share`` of them in all directions and the rest aimed.

    Returns:
        Unit vectors [n, 3] and weights [n].
    """
    count = len(energy_kev)
    way = isotropic(count, generator)
    if share >= 1:
        return way, torch.ones_like(energy_kev)
    aimed = (
        torch.rand(count, generator=generator, dtype=place.dtype, device=place.device) >= share
    ).nonzero()[:, 0]
    way[aimed] = aim.draw(place[aimed], energy_kev[aimed], generator)
    mixed = share + (1 - share) * 4 * math.pi * aim.per_steradian(place, way, energy_kev)
    return way, 1 / mixed


def _towards(place: Tensor, target: Tensor) -> Tensor:
    """Unit vectors from places to targets."""
    way = target - place
    unit: Tensor = way / way.norm(dim=1, keepdim=True)
    return unit


def _steradian(rise: Tensor, cosine: Tensor) -> Tensor:
    """Area per steradian on a plane ``rise`` away (along its normal), where rays cross it."""
    cosine = torch.where(cosine.abs() < 1e-12, 1e-12, cosine)
    return (rise / cosine).square() / cosine.abs()
