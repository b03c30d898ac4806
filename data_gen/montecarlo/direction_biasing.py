"""Biased photon directions, towards apertures and detectors, with their exact probability density.

Directions are unit vectors [n, 3], places are in mm, densities per steradian. From the object, photons are
directed to the aperture waists, to zones around them that photons penetrate, and to the detectors; from
inside a collimator, to the detector and the nearest waist. Dividing the physical density by the density
sampled gives each photon's weight, so the result stays unbiased (importance sampling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from data_gen.montecarlo.angles import isotropic
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.variance_reduction import uniform


class DirectionBias(Protocol):
    """A probability density of directions that depends on place and energy."""

    def draw(self, position: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """Directions (unit vectors [n, 3]) sampled for photons at ``position`` [n, 3] mm."""

    def per_steradian(self, position: Tensor, direction: Tensor, energy_kev: Tensor) -> Tensor:
        """Probability density [n] with which :meth:`draw` samples these directions."""


def emitted(
    bias: DirectionBias, position: Tensor, energy_kev: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Directions of isotropic emission: a fraction ``share`` isotropic, the others biased.

    Returns:
        Unit vectors [n, 3] and weights [n].
    """
    direction = isotropic(len(energy_kev), generator)
    if share >= 1:
        return direction, torch.ones_like(energy_kev)
    biased = (uniform(len(energy_kev), generator) >= share).nonzero()[:, 0]
    direction[biased] = bias.draw(position[biased], energy_kev[biased], generator)
    mixed = share + (1 - share) * 4 * math.pi * bias.per_steradian(position, direction, energy_kev)
    return direction, 1 / mixed


def towards_detector(panel: Panel, position: Tensor, generator: torch.Generator) -> Tensor:
    """Directions (panel coordinates) to points uniform on a panel's detector, [n, 3].

    The target is wider than the detector by its thickness, since photons also enter through the sides.
    """
    random = torch.rand(len(position), 2, generator=generator, dtype=position.dtype, device=position.device)
    target = (2 * random - 1) * (position.new_tensor(panel.half_size) + panel.depth_mm)
    face = torch.full_like(target[:, :1], panel.detector_mm)
    return towards(position, torch.cat((target, face), dim=1))


def to_detector_per_steradian(panel: Panel, position: Tensor, direction: Tensor) -> Tensor:
    """Probability density [n] of :func:`towards_detector`."""
    rise = panel.detector_mm - position[:, 2]
    a, b = panel.on_face(position, direction).abs().unbind(dim=1)
    half_a, half_b = (half + panel.depth_mm for half in panel.half_size)
    hit = (a <= half_a) & (b <= half_b) & (rise * direction[:, 2] > 0)
    return hit * area_per_steradian(rise, direction[:, 2]) / (4 * half_a * half_b)


def towards(position: Tensor, target: Tensor) -> Tensor:
    """Unit vectors from places to targets."""
    direction = target - position
    unit: Tensor = direction / direction.norm(dim=1, keepdim=True)
    return unit


def area_per_steradian(rise: Tensor, cosine: Tensor) -> Tensor:
    """Area per steradian, mm2, where rays cross a plane at distance ``rise`` along its normal."""
    cosine = torch.where(cosine.abs() < 1e-12, 1e-12, cosine)
    return (rise / cosine).square() / cosine.abs()


FOLDS = (0.0, 3.0, 12.0)
"""Widths of the zones around a waist, in distances over which edge transmission falls by e."""


class Zones:
    """Disks around the aperture waists that photons pass or penetrate, by energy.

    Args:
        panels: of one rotation position of the camera.
        metal: of the collimator.
    """

    def __init__(self, panels: Sequence[Panel], metal: Medium) -> None:
        self.metal = metal
        self.tangent = max(float(p.holes.tangent.max()) for p in panels)
        self.opening_mm = self.tangent * panels[0].half_plate_mm

    def fold_mm(self, energy_kev: Tensor) -> Tensor:
        """Distance from the aperture's edge over which transmission falls by e, [n]: tan(a/2) / (2 mu)."""
        return self.tangent / (2 * self.metal.per_mm(energy_kev))

    def widths_mm(self, energy_kev: Tensor) -> Tensor:
        """Distance that each zone extends beyond the waist, [zone, n]."""
        fold = self.fold_mm(energy_kev)
        return torch.stack([(folds * fold).clamp_max(self.opening_mm) for folds in FOLDS])


def near_waists(panel: Panel, position: Tensor, direction: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [k] of rays (panel coordinates) that cross the plane of the waists near an aperture, and where
    [k, 2].
    """
    along = torch.where(direction[:, 2].abs() < 1e-12, 1e-12, direction[:, 2])
    run = (panel.plane_mm - position[:, 2]) / along
    cross = position[:, :2] + direction[:, :2] * run[:, None]
    far = panel.holes.centre.abs().amax(0) + panel.holes.radius.max()
    near = ((cross.abs() <= far + margin[:, None]).all(dim=1) & (run > 0)).nonzero()[:, 0]
    return near, cross[near]


_LEAST_SHARES = (0.05, 0.05, 0.1, 0.05)
"""Smallest fraction of photons sent to waists, to their two zones and to the detectors, so that no weight is
very large.
"""


class CameraBias:
    """Directions from the object to the waists, the zones around them and the detectors of a camera.

    Each target is chosen about as often as photons reach the detectors through it. Coordinates are those of
    the camera.

    Args:
        panels: of one rotation position of the camera.
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

    def draw(self, position: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`DirectionBias`."""
        choice = (uniform(len(position), generator) > self._shares(energy_kev).cumsum(0)[:3]).sum(0)
        random = torch.rand(
            4, len(position), generator=generator, dtype=position.dtype, device=position.device
        )
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
        return towards(position, centre + local[:, :1] * axes[:, 0] + local[:, 1:] * axes[:, 1])

    def per_steradian(self, position: Tensor, direction: Tensor, energy_kev: Tensor) -> Tensor:
        """See :class:`DirectionBias`."""
        shares, widths = self._shares(energy_kev), self.zones.widths_mm(energy_kev)
        total = torch.zeros_like(energy_kev)
        for panel in self.panels:
            at, local = panel.turned(position, direction)
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
        """Approximate fraction of emitted photons that reach the detectors unscattered, [n]."""
        return self._steradians(energy_kev).sum(0) / (4 * math.pi)

    def _steradians(self, energy_kev: Tensor) -> Tensor:
        """Approximate solid angle times transmission of waists, narrow zones and plates, [3, n]."""
        first = self.panels[0]
        fold, radius = self.zones.fold_mm(energy_kev).clamp_max(first.half_plate_mm), self.radius.mean()
        waists = len(self.radius) * math.pi / first.plane_mm**2
        plates = 4 * first.half_size[0] * first.half_size[1] * len(self.panels) / first.detector_mm**2
        through = torch.exp(-2 * first.half_plate_mm * self.metal.per_mm(energy_kev))
        parts = (waists * radius**2, 2 * waists * fold * (radius + fold), plates * through)
        return torch.stack([torch.as_tensor(part).expand_as(fold) for part in parts]).clamp_max(2 * math.pi)

    def _shares(self, energy_kev: Tensor) -> Tensor:
        """Probability with which each target is chosen, [4, n]."""
        worth = self._steradians(energy_kev)
        worth = (1 - sum(_LEAST_SHARES)) * worth / worth.sum(0)
        worth = torch.cat((worth[:2], torch.zeros_like(worth[:1]), worth[2:]))
        return worth + worth.new_tensor(_LEAST_SHARES)[:, None]


def _waists_in_space(panel: Panel) -> Tensor:
    """Centres of a panel's waists in the camera's coordinates, [hole, 3]."""
    back = (panel.plane_mm - panel.detector_mm) * panel.axes[2]
    return panel.middle + back + panel.holes.centre @ panel.axes[:2]


class CollimatorBias:
    """Directions from inside a collimator: to the detector, and from in front of the waists also (half the
    time) to the nearest waist and a zone around it. In panel coordinates.
    """

    def __init__(self, panel: Panel, metal: Medium) -> None:
        self.panel, self.zones = panel, Zones([panel], metal)

    def draw(self, position: Tensor, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """See :class:`DirectionBias`."""
        direction = towards_detector(self.panel, position, generator)
        chosen = uniform(len(position), generator) < self._share(position)
        index = chosen.nonzero()[:, 0]
        random = torch.rand(2, len(index), generator=generator, dtype=position.dtype, device=position.device)
        centre, reach = self._target(position[index], energy_kev[index])
        radius, turn = reach * random[0].sqrt(), 2 * math.pi * random[1]
        on_disk = centre + torch.stack((radius * turn.cos(), radius * turn.sin()), dim=1)
        plane = torch.full_like(on_disk[:, :1], self.panel.plane_mm)
        direction[index] = towards(position[index], torch.cat((on_disk, plane), dim=1))
        return direction

    def per_steradian(self, position: Tensor, direction: Tensor, energy_kev: Tensor) -> Tensor:
        """See :class:`DirectionBias`."""
        share = self._share(position)
        density = (1 - share) * to_detector_per_steradian(self.panel, position, direction)
        near, cross = near_waists(self.panel, position, direction, self.zones.widths_mm(energy_kev)[1])
        centre, reach = self._target(position[near], energy_kev[near])
        hit = (cross - centre).norm(dim=1) <= reach
        rise = self.panel.plane_mm - position[near, 2]
        disk = hit * share[near] / (math.pi * reach.square()) * area_per_steradian(rise, direction[near, 2])
        return density.index_add(0, near, disk)

    def _share(self, position: Tensor) -> Tensor:
        """Probability with which a waist is chosen, [n]."""
        return 0.5 * (position[:, 2] < self.panel.plane_mm - 1e-6).to(position.dtype)

    def _target(self, position: Tensor, energy_kev: Tensor) -> tuple[Tensor, Tensor]:
        """Centre [n, 2] and radius [n] of the disk around the waist whose axis is nearest."""
        holes = self.panel.holes
        above = (position[:, 2] - self.panel.plane_mm)[:, None, None]
        off = position[:, None, :2] - holes.centre - holes.slope * above
        nearest = off.square().sum(-1).argmin(dim=1)
        return holes.centre[nearest], holes.radius[nearest] + self.zones.widths_mm(energy_kev)[1]
