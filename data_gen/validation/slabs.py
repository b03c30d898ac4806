"""Attenuation in the object: slabs normal and oblique, the chord of a box, units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xraylib
from torch import Tensor

from data_gen.core.grid import VoxelGrid
from data_gen.materials import linear_attenuation_per_mm, mass_attenuation
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import Pinhole, point_at, rays_seen

_HEIGHT_MM = 60.0
"""Isocentre to the plane of the pinhole; chosen, no source."""
_GRID = VoxelGrid((41, 11, 41), 1.0)
_MIDDLE = (20, 5, 20)


@dataclass(frozen=True)
class _Scene:
    """A point, a box of soft tissue, and the path of its photons through the box on their way to the hole.

    Boxes are (first, last + 1) voxels along z, y and x of a grid with edges of 1 mm.
    """

    name: str
    source: tuple[int, int, int]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    note: str

    def density(self) -> Tensor:
        """[z, y, x] in g/cm3."""
        density = torch.zeros(_GRID.shape, dtype=torch.float64)
        z, y, x = (slice(*ends) for ends in self.box)
        density[z, y, x] = 1.06
        return density

    def path_mm(self) -> float:
        """Length of the line from the point to the hole within the box, by its crossings of the faces."""
        source = [float(s - m) for s, m in zip(self.source, _MIDDLE, strict=True)]
        way = [-source[0], -source[1], _HEIGHT_MM - source[2]]
        first, last = 0.0, 1.0
        for start, step, ends, middle in zip(source, way, self.box, _MIDDLE, strict=True):
            if step == 0:
                continue
            crossed = sorted((end - 0.5 - middle - start) / step for end in ends)
            first, last = max(first, crossed[0]), min(last, crossed[1])
        return max(0.0, last - first) * math.hypot(*way)

    def image_mm(self) -> float:
        """z of the image on the detector."""
        z, _, x = (float(s - m) for s, m in zip(self.source, _MIDDLE, strict=True))
        return -z * _HEIGHT_MM / (_HEIGHT_MM - x)


_SCENES = (
    _Scene("slab", _MIDDLE, ((0, 41), (0, 11), (24, 32)), "8 mm, straight"),
    _Scene("oblique_slab", (0, 5, 20), ((0, 41), (0, 11), (24, 32)), "8 mm, at 18 degrees"),
    _Scene(
        "chord_of_box", (0, 5, 4), ((4, 8), (0, 11), (12, 29)), "in by one face, out by another, 15 degrees"
    ),
)


def attenuation(energies_kev: Sequence[float] = (82.0, 218.0, 440.0), rays: int = 64) -> Findings:
    """Transmission of a point's photons through soft tissue, by the ray projector, and units."""
    return Findings(
        [*(_transmission(s, energy, rays) for s in _SCENES for energy in energies_kev), *_units()]
    )


def _transmission(scene: _Scene, energy_kev: float, rays: int) -> Point:
    camera = Pinhole(_HEIGHT_MM, 2 * _HEIGHT_MM, shift_mm=scene.image_mm()).camera()
    source = point_at(_GRID, scene.source)
    through = rays_seen(camera, energy_kev, _GRID, source, scene.density(), rays).sum()
    free = rays_seen(camera, energy_kev, _GRID, source, None, rays).sum()
    mu = float(linear_attenuation_per_mm("soft_tissue", energy_kev, 1.06))
    deviation = float(through / free) / math.exp(-mu * scene.path_mm()) - 1
    return Point(
        f"{scene.name}_{energy_kev:g}kev",
        abs(deviation),
        0.005,
        "exp(-mu times the path)",
        "Beer and Lambert",
        f"soft tissue of 1.06 g/cm3, {scene.note}",
    )


def _units() -> list[Point]:
    """1/mm is a tenth of 1/cm, and both are xraylib's cross sections."""
    energy, water = 140.0, (("H", 1, 2), ("O", 8, 1))
    per_cm = float(mass_attenuation("water", energy)) * 1.0
    per_mm = float(linear_attenuation_per_mm("water", energy, 1.0))
    masses = {z: n * xraylib.AtomicWeight(z) for _, z, n in water}
    told = sum(m * xraylib.CS_Total(z, energy) for z, m in masses.items()) / sum(masses.values())
    return [
        Point(
            "mm_and_cm",
            abs(10 * per_mm / per_cm - 1),
            1e-12,
            "1/mm is 0.1/cm",
            "definition",
            "water, 140 keV",
        ),
        Point("water", abs(per_cm / told - 1), 1e-3, "mass attenuation of H2O", "xraylib", "140 keV"),
    ]
