"""Solids that organs and rods are made of, in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Point = tuple[float, float, float]
Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


class Shape(Protocol):
    """A solid; coordinates broadcast against each other."""

    @property
    def bounds_mm(self) -> Bounds:
        """A box around it: (low, high) along x, y and z."""

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """True where a point lies inside."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, turned by ``roll`` about z and then ``pitch`` about x (radians)."""

    centre: Point
    semi_axes: Point
    roll: float = 0.0
    pitch: float = 0.0

    def _axes(self) -> tuple[Point, Point, Point]:
        """Unit vectors of the three semi-axes."""
        c, s, cp, sp = math.cos(self.roll), math.sin(self.roll), math.cos(self.pitch), math.sin(self.pitch)
        return (c, s * cp, s * sp), (-s, c * cp, c * sp), (0.0, -sp, cp)

    @property
    def bounds_mm(self) -> Bounds:
        """A box around it."""
        axes = self._axes()
        half = [math.hypot(*(r * a[i] for r, a in zip(self.semi_axes, axes, strict=True))) for i in range(3)]
        x, y, z = ((c - h, c + h) for c, h in zip(self.centre, half, strict=True))
        return x, y, z

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """True inside."""
        dx, dy, dz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        inside = torch.zeros(())
        for radius, axis in zip(self.semi_axes, self._axes(), strict=True):
            inside = inside + ((dx * axis[0] + dy * axis[1] + dz * axis[2]) / radius) ** 2
        return inside <= 1.0


@dataclass(frozen=True)
class Cylinder:
    """A round cylinder along z."""

    centre: Point
    radius: float
    length: float

    @property
    def bounds_mm(self) -> Bounds:
        """A box around it."""
        x, y, z = self.centre
        r, h = self.radius, self.length / 2
        return (x - r, x + r), (y - r, y + r), (z - h, z + h)

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """True inside."""
        across = (x - self.centre[0]) ** 2 + (y - self.centre[1]) ** 2 <= self.radius**2
        return across & ((z - self.centre[2]).abs() <= self.length / 2)


@dataclass(frozen=True)
class Trunk:
    """A trunk along z of elliptic section that tapers to both ends, or a shell of it cut into ribs.

    Args:
        semi_x: half-width of the section at ``waist_z``.
        semi_y: half-height there.
        waist_z: where the section is widest.
        taper_per_mm2: relative narrowing per square of the distance from the waist.
        shell: inner and outer edge of the shell as shares of the section; (0, 1) is the full trunk.
        span: lowest and highest z.
        rib_pitch: distance between ribs; 0 for no ribs but the whole shell.
        rib_width: extent of a rib along z.
    """

    semi_x: float
    semi_y: float
    waist_z: float
    taper_per_mm2: float
    shell: tuple[float, float] = (0.0, 1.0)
    span: tuple[float, float] = (-1000.0, 1000.0)
    rib_pitch: float = 0.0
    rib_width: float = 0.0

    @property
    def bounds_mm(self) -> Bounds:
        """A box around it."""
        return (-self.semi_x, self.semi_x), (-self.semi_y, self.semi_y), self.span

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """True inside."""
        width = (1.0 - self.taper_per_mm2 * (z - self.waist_z) ** 2).clamp_min(0.3)
        radius = ((x / (self.semi_x * width)) ** 2 + (y / (self.semi_y * width)) ** 2).sqrt()
        inside = (radius >= self.shell[0]) & (radius <= self.shell[1])
        inside = inside & (z >= self.span[0]) & (z <= self.span[1])
        if self.rib_pitch > 0:
            inside = inside & ((z - self.span[0]) % self.rib_pitch <= self.rib_width)
        return inside


@dataclass(frozen=True)
class Slice:
    """What of a solid lies between two parallel planes.

    Args:
        solid: the whole.
        normal: unit vector across the planes.
        span_mm: along the normal, from the isocentre: (low, high).
    """

    solid: Shape
    normal: Point
    span_mm: tuple[float, float]

    @property
    def bounds_mm(self) -> Bounds:
        """A box around the whole."""
        return self.solid.bounds_mm

    def contains(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """True inside."""
        along = x * self.normal[0] + y * self.normal[1] + z * self.normal[2]
        low, high = self.span_mm
        return self.solid.contains(x, y, z) & (along >= low) & (along <= high)
