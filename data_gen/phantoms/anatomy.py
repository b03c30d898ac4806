"""The trunk of a mouse, from lungs to bladder, as solids.

Places and sizes follow the Digimouse atlas (Dogdas et al., Phys. Med. Biol. 52, 2007: centroids and volumes
of its organs) for a mouse of 25 g: z towards the head from the middle of the liver, y towards the back,
x towards the animal's left side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from data_gen.core.random import uniform
from data_gen.phantoms.shapes import Ellipsoid, Point, Shape, Trunk

REFERENCE_MASS_G = 25.0
"""Mass of the mouse that the sizes are given for; others are scaled."""

BODY_SEMI_MM = (12.4, 10.0)
"""Half-width and half-height of the trunk."""

ORGAN_ELLIPSOIDS: tuple[tuple[str, Point, Point], ...] = (
    ("lungs", (-4.0, 1.4, 11.5), (3.2, 4.0, 5.2)),
    ("lungs", (4.6, 1.6, 12.0), (2.7, 3.6, 5.0)),
    ("heart", (0.7, -1.9, 13.0), (3.4, 3.2, 4.6)),
    ("liver", (-1.3, 0.3, 2.6), (9.0, 5.8, 5.8)),
    ("liver", (5.2, -3.0, 4.5), (4.3, 3.7, 4.1)),
    ("liver", (-6.4, 1.5, -1.5), (3.5, 4.1, 4.4)),
    ("stomach", (6.0, 2.3, 0.5), (4.4, 3.2, 3.7)),
    ("spleen", (8.6, 3.2, -2.5), (1.7, 3.0, 5.8)),
    ("kidneys", (-5.0, 4.6, -4.2), (3.1, 3.1, 5.6)),
    ("kidneys", (5.0, 4.6, -7.2), (3.1, 3.1, 5.6)),
    ("bladder", (-1.4, -3.6, -15.5), (3.2, 3.2, 4.0)),
)
"""Organ, centre and semi-axes in mm; a later one cuts into an earlier one."""

BONES: tuple[tuple[Point, Point], ...] = (
    ((0.0, 7.0, 0.0), (1.6, 1.6, 60.0)),
    ((0.0, -7.4, 14.0), (0.9, 0.7, 5.0)),
    ((-5.2, 3.0, -19.0), (1.5, 1.8, 5.0)),
    ((5.2, 3.0, -19.0), (1.5, 1.8, 5.0)),
)
"""Spine, breastbone and hip bones: centre and semi-axes in mm."""

KIDNEY_MEDULLA = 0.6
"""Size of the medulla relative to its kidney."""


@dataclass(frozen=True)
class Solid:
    """A solid of an organ; ``zone`` is "core" for the inner part of a kidney or tumour, else "whole"."""

    organ: str
    shape: Shape
    zone: str = "whole"


@dataclass(frozen=True)
class BodyPlan:
    """What makes one mouse differ from another: linear size, bed position, and spread of its organs."""

    scale: float
    bed_offset_mm: float
    spread_mm: float = 0.6
    size_spread: float = 0.1

    def place(self, centre: Point, generator: torch.Generator, wander: float = 1.0) -> Point:
        """A centre of the reference mouse in this body, as it lies in the camera."""
        spread = wander * self.spread_mm
        x, y, z = (self.scale * (c + uniform((-spread, spread), generator)) for c in centre)
        return x, y, z - self.bed_offset_mm

    def size(self, semi_axes: Point, generator: torch.Generator) -> Point:
        """Semi-axes of the reference mouse in this body."""
        low, high = 1.0 - self.size_spread, 1.0 + self.size_spread
        x, y, z = (self.scale * s * uniform((low, high), generator) for s in semi_axes)
        return x, y, z


def mouse_solids(body: BodyPlan, generator: torch.Generator) -> Iterator[Solid]:
    """The solids of one mouse in painting order, without tumours."""
    trunk = _trunk(body)
    yield Solid("soft_tissue", trunk)
    yield from (Solid("gut", loop) for loop in _gut(body, generator))
    for organ, centre, semi_axes in ORGAN_ELLIPSOIDS:
        place, size = body.place(centre, generator), body.size(semi_axes, generator)
        yield Solid(organ, Ellipsoid(place, size))
        if organ == "kidneys":
            yield Solid(organ, Ellipsoid(place, _scaled(size, KIDNEY_MEDULLA)), "core")
    for centre, semi_axes in BONES:
        place = body.place(centre, generator, wander=0.3)
        yield Solid("bone", Ellipsoid(place, body.size(semi_axes, generator)))
    yield Solid("bone", _ribs(body))


def tumour_solids(body: BodyPlan, diameter_mm: float, generator: torch.Generator) -> Iterator[Solid]:
    """One tumour and its core, somewhere between the middle of the trunk and its skin."""
    angle, height = uniform((0.0, 2 * math.pi), generator), uniform((-10.0, 10.0), generator)
    # A tumour under the skin stays inside the outline.
    deepest = 0.95 - diameter_mm / 2 / (body.scale * BODY_SEMI_MM[1])
    radius = uniform((0.25, max(deepest, 0.3)), generator)
    across = [radius * body.scale * s for s in BODY_SEMI_MM]
    centre = (across[0] * math.cos(angle), across[1] * math.sin(angle), height)
    a, b, c = (diameter_mm / 2 * uniform((0.85, 1.15), generator) for _ in range(3))
    roll, pitch = (uniform((0.0, math.pi), generator) for _ in range(2))
    yield Solid("tumour", Ellipsoid(centre, (a, b, c), roll, pitch))
    core = _scaled((a, b, c), uniform((0.3, 0.6), generator))
    yield Solid("tumour", Ellipsoid(centre, core, roll, pitch), "core")


def _trunk(body: BodyPlan) -> Trunk:
    """The skin."""
    x, y = (body.scale * s for s in BODY_SEMI_MM)
    return Trunk(x, y, -body.bed_offset_mm, 0.0005 / body.scale**2)


def _ribs(body: BodyPlan) -> Trunk:
    """The rib cage under the skin of the chest."""
    skin, scale, offset = _trunk(body), body.scale, body.bed_offset_mm
    return Trunk(
        skin.semi_x,
        skin.semi_y,
        skin.waist_z,
        skin.taper_per_mm2,
        shell=(0.80, 0.88),
        span=(4.5 * scale - offset, 22.0 * scale - offset),
        rib_pitch=2.6 * scale,
        rib_width=0.9 * scale,
    )


def _gut(body: BodyPlan, generator: torch.Generator) -> Iterator[Ellipsoid]:
    """Loops of gut that fill the belly below the liver, turned every way."""
    for _ in range(8):
        x, y, z = (uniform(span, generator) for span in ((-7.0, 7.0), (-6.0, 1.5), (-15.0, -4.0)))
        place = body.place((x, y, z), generator)
        size = body.size((1.8, 1.8, uniform((2.5, 4.5), generator)), generator)
        roll, pitch = (uniform((0.0, math.pi), generator) for _ in range(2))
        yield Ellipsoid(place, size, roll, pitch)


def _scaled(semi_axes: Point, factor: float) -> Point:
    """Semi-axes times a factor."""
    x, y, z = semi_axes
    return factor * x, factor * y, factor * z
