"""Test phantoms with sealed hot rods: Derenzo, and one like the mouse phantom of NEMA NU 4. Lengths in mm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms.phantom import Phantom
from data_gen.phantoms.shapes import Cylinder, Shape
from data_gen.phantoms.voxelise import OUTSIDE, Tissue, paint, phantom_of

WATER = 1.0
"""Density in g/cm3."""
ACRYLIC = 1.19
"""Density in g/cm3."""


@dataclass(frozen=True)
class DerenzoPhantom:
    """Six sectors of hot rods in acrylic, each of one diameter, centres two diameters apart; axis along z.

    Args:
        rod_diameters_mm: one diameter a sector.
        diameter_mm: diameter of the acrylic cylinder.
        length_mm: length of cylinder and rods.
        supersampling: fine voxels along each edge of a voxel.
    """

    rod_diameters_mm: Sequence[float] = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
    diameter_mm: float = 26.0
    length_mm: float = 14.0
    supersampling: int = 4

    def __post_init__(self) -> None:
        rods = tuple(float(d) for d in self.rod_diameters_mm)
        if len(rods) != 6 or min(rods) <= 0:
            raise UserError(
                f"phantom.rod_diameters_mm is {list(rods)}; it needs six positive diameters in mm"
            )
        object.__setattr__(self, "rod_diameters_mm", rods)

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:  # noqa: ARG002
        """The phantom; there is nothing random in it."""
        rods = [rod for sector in range(6) for rod in self._sector(sector)]
        body = Cylinder((0.0, 0.0, 0.0), self.diameter_mm / 2, self.length_mm)
        return _filled(
            [(body, Tissue("cold", ACRYLIC)), *((rod, HOT_ROD) for rod in rods)], grid, self.supersampling
        )

    def _sector(self, sector: int) -> Iterator[Cylinder]:
        """Rods of one sector: rows of 1, 2, 3 ... rods away from the middle."""
        diameter = self.rod_diameters_mm[sector]
        along = math.radians(60 * sector + 30)
        row = 0
        first = 2.0 + diameter
        while True:
            out = first + row * diameter * math.sqrt(3)
            sideways = [diameter * (2 * k - row) for k in range(row + 1)]
            if math.hypot(out, sideways[0]) + diameter / 2 > self.diameter_mm / 2 - 0.5:
                return
            for side in sideways:
                x = out * math.cos(along) - side * math.sin(along)
                y = out * math.sin(along) + side * math.cos(along)
                yield Cylinder((x, y, 0.0), diameter / 2, self.length_mm)
            row += 1


@dataclass(frozen=True)
class NemaMousePhantom:
    """A phantom like the image quality phantom of NEMA NU 4, shrunk to the field of view.

    From +z to -z: five hot rods of 1 to 5 mm in acrylic, uniform activity in water, and the same water
    with two chambers without activity, one of water and one of air.

    Args:
        diameter_mm: diameter of the whole (30 mm in the standard).
        section_mm: length of each of the three parts.
        supersampling: fine voxels along each edge of a voxel.
    """

    diameter_mm: float = 26.0
    section_mm: float = 8.0
    supersampling: int = 4

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:  # noqa: ARG002
        """The phantom; there is nothing random in it."""
        radius, length = self.diameter_mm / 2, self.section_mm
        parts: list[tuple[Shape, Tissue]] = [
            (Cylinder((0.0, 0.0, length), radius, length), Tissue("cold", ACRYLIC)),
            (Cylinder((0.0, 0.0, -length / 2), radius, 2 * length), Tissue("soft_tissue", WATER, 1.0)),
        ]
        for k in range(5):
            angle = 2 * math.pi * k / 5
            centre = (0.5 * radius * math.cos(angle), 0.5 * radius * math.sin(angle), length)
            parts.append((Cylinder(centre, (k + 1) / 2, length), HOT_ROD))
        for side, density in ((-1, WATER), (1, OUTSIDE.density_g_cm3)):
            chamber = Cylinder((side * 0.5 * radius, 0.0, -length), 0.27 * radius, length)
            parts.append((chamber, Tissue("cold", density)))
        return _filled(parts, grid, self.supersampling)


HOT_ROD = Tissue("rods", WATER, 1.0)


def _filled(parts: Sequence[tuple[Shape, Tissue]], grid: VoxelGrid, supersampling: int) -> Phantom:
    """The phantom with all the injected activity in its hot parts, at one concentration."""
    fine = paint([shape for shape, _ in parts], grid, supersampling)
    hot = sum(int((fine == k).sum()) for k, (_, t) in enumerate(parts, 1) if t.uptake_per_ml > 0)
    hot_ml = hot * grid.voxel_volume_ml / supersampling**3
    if hot_ml == 0:
        raise UserError(f"no hot rod lies within the grid of {grid.extent_mm} mm; it needs a larger one")
    tissues = [Tissue(t.organ, t.density_g_cm3, t.uptake_per_ml / hot_ml) for _, t in parts]
    return phantom_of(fine, [OUTSIDE, *tissues], grid)
