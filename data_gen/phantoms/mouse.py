"""Mouse phantoms: anatomy, tumours and uptake (percent injected activity per gram) sampled for each
individual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import Range, checked_range, log_uniform, uniform
from data_gen.phantoms.anatomy import REFERENCE_MASS_G, BodyPlan, Solid, mouse_solids, tumour_solids
from data_gen.phantoms.biodistribution import checked_biodistribution
from data_gen.phantoms.individuals import Anatomy, Individual, Region
from data_gen.phantoms.phantom import ORGANS, Phantom
from data_gen.phantoms.shapes import Shape
from data_gen.phantoms.voxelise import OUTSIDE, Tissue, filling_of, paint, phantom_of

DENSITY_G_CM3 = {"lungs": 0.30, "bone": 1.60}
"""Mouse bone is a mixture of cortical bone and marrow at this scale; all else is soft tissue at 1.05."""

CORE_UPTAKE: dict[str, Range] = {"kidneys": (0.3, 0.8), "tumour": (0.2, 1.0)}
"""Uptake of medulla and of a tumour's core (dying tissue) relative to the rest."""

MOST_SITES = 100
"""Places for tumours in a mouse, at most: fine voxels hold their numbers in a byte."""

TRIES_A_SITE = 20
"""Draws of a place for a tumour, on average, before it is said that no more fit in; chosen, no source."""


@dataclass(frozen=True)
class MousePhantom:
    """A mouse from lungs to bladder, one bed position long.

    Ranges are [lowest, highest]. Uptakes are log-uniform and independent between organs; every tumour has
    its own. Activity beyond the ends of the grid is left out.

    Args:
        uptake_percent_per_g: organ to percent of the injected activity per gram; ``soft_tissue`` is needed
            and serves organs that are not named.
        freed_per_g: organ to relative concentration per gram of progeny that left its place of birth.
        freed_fraction: share of the progeny that leaves at each generation of groups.
        tumours: fewest and most tumours.
        tumour_diameter_mm: diameter of the tumours.
        body_mass_g: mass of the whole animal.
        bed_offset_mm: where the middle of the liver lies below the isocentre.
        supersampling: fine voxels along each edge of a voxel.

    Raises:
        UserError: an unknown organ or a range that is none.
    """

    uptake_percent_per_g: Mapping[str, Sequence[float]]
    freed_per_g: Mapping[str, Sequence[float]] = field(default_factory=dict)
    freed_fraction: Sequence[float] = (0.0, 0.0)
    tumours: Sequence[int] = (1, 3)
    tumour_diameter_mm: Sequence[float] = (2.0, 6.0)
    body_mass_g: Sequence[float] = (18.0, 28.0)
    bed_offset_mm: Sequence[float] = (-3.0, 2.0)
    supersampling: int = 3

    distance_mm: ClassVar[float] = 0.0
    """Least distance between the boxes around places for tumours."""

    def __post_init__(self) -> None:
        for name in ("uptake_percent_per_g", "freed_per_g"):
            object.__setattr__(self, name, checked_biodistribution(f"phantom.{name}", getattr(self, name)))
        if "soft_tissue" not in self.uptake_percent_per_g:
            raise UserError("phantom.uptake_percent_per_g lacks soft_tissue, which serves organs not named")
        span = checked_range("phantom.freed_fraction", self.freed_fraction, most=1.0)
        object.__setattr__(self, "freed_fraction", span)
        for name in ("tumours", "tumour_diameter_mm", "body_mass_g"):
            object.__setattr__(self, name, checked_range(f"phantom.{name}", getattr(self, name)))
        object.__setattr__(self, "tumours", tuple(int(number) for number in self.tumours))
        offset = checked_range("phantom.bed_offset_mm", self.bed_offset_mm, above=-1000.0)
        object.__setattr__(self, "bed_offset_mm", offset)

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:
        """One mouse on this grid."""
        mass, body = self._body(generator)
        solids = [*mouse_solids(body, generator), *self._tumours(body, generator)]
        tissues = [OUTSIDE, *self._tissues([(solid.organ, solid.zone) for solid in solids], generator)]
        fine = paint([solid.shape for solid in solids], grid, self.supersampling)
        freed_fraction = uniform(_span(self.freed_fraction), generator)
        return phantom_of(fine, tissues, grid, freed_fraction, mass)

    def anatomy(self, grid: VoxelGrid, sites: int, generator: torch.Generator) -> Anatomy:
        """One mouse with so many places where a tumour may be, none within another.

        Places are drawn as :meth:`__call__` draws tumours, and cut off at the skin. The density is that
        without tumours, which would show in lungs and bone.

        Raises:
            UserError: there are fewer places than tumours that a mouse may have, or more than fit in.
        """
        if not self.tumours[1] <= sites <= MOST_SITES:
            least = f"at least the {self.tumours[1]} of phantom.tumours"
            raise UserError(f"sites is {sites}; it needs to be {least}, and at most {MOST_SITES}")
        mass, plan = self._body(generator)
        body, tumours = list(mouse_solids(plan, generator)), self._places(plan, sites, generator)
        places = [solid for tumour in tumours for solid in tumour]
        # What a fine voxel of each solid is numbered by: 2 k - 1 in tumour k, 2 k in its core.
        numbers = [0] + [
            2 * k + (zone > 0) + 1 for k, tumour in enumerate(tumours) for zone in range(len(tumour))
        ]
        host, place = (
            paint([solid.shape for solid in solids], grid, self.supersampling) for solids in (body, places)
        )
        parts = list(dict.fromkeys((solid.organ, solid.zone) for solid in body))
        part_of = torch.tensor([0] + [1 + parts.index((solid.organ, solid.zone)) for solid in body])
        codes = 2 * sites + 1
        at_place = torch.tensor(numbers)[place.int()]
        code = part_of[host.int()] * codes + torch.where(host > 0, at_place, 0)
        found, fine = torch.unique(code, return_inverse=True)
        regions = tuple(
            Region(
                ORGANS.index(parts[part - 1][0]),
                parts[part - 1][1] == "core",
                (at + 1) // 2,
                at > 0 and at % 2 == 0,
            )
            for part, at in (divmod(number, codes) for number in found.tolist())
            if part > 0
        )
        outside = len(found) - len(regions)
        filling = filling_of(fine, len(found), grid)[outside:]
        tissues = [OUTSIDE, *(Tissue(solid.organ, _density(solid.organ)) for solid in body)]
        density = phantom_of(host, tissues, grid).density
        return Anatomy(density, filling, self.supersampling**3, grid.voxel_volume_ml, regions, mass)

    def individual(self, anatomy: Anatomy, generator: torch.Generator) -> Individual:
        """Uptakes as :meth:`__call__` draws them, with tumours at a random choice of the places."""
        fewest, most = self.tumours
        count = int(torch.randint(fewest, most + 1, (), generator=generator))
        places = 1 + torch.randperm(max(region.site for region in anatomy.regions), generator=generator)
        sites = places[:count].tolist()
        zones = {(region.organ, region.core): None for region in anatomy.regions}
        body = [(ORGANS[organ], "core" if core else "whole") for organ, core in zones]
        tumours = [("tumour", zone) for _ in sites for zone in ("whole", "core")]
        drawn = iter(self._tissues([*body, *tumours], generator))
        tissue: dict[tuple[int, bool], Tissue] = dict(zip(zones, drawn, strict=False))
        at: dict[tuple[int, bool], Tissue] = dict(
            zip(((s, c) for s in sites for c in (False, True)), drawn, strict=True)
        )
        filled = [
            at.get((region.site, region.site_core)) or tissue[region.organ, region.core]
            for region in anatomy.regions
        ]
        return Individual.of(
            anatomy,
            [ORGANS.index(part.organ) for part in filled],
            [part.uptake_per_ml for part in filled],
            [part.freed_per_ml for part in filled],
            uniform(_span(self.freed_fraction), generator),
        )

    def _body(self, generator: torch.Generator) -> tuple[float, BodyPlan]:
        """Mass in g, and size and place, of one mouse."""
        mass = uniform(_span(self.body_mass_g), generator)
        offset = uniform(_span(self.bed_offset_mm), generator)
        return mass, BodyPlan((mass / REFERENCE_MASS_G) ** (1 / 3), offset)

    def _places(self, body: BodyPlan, sites: int, generator: torch.Generator) -> list[list[Solid]]:
        """Tumours, each whole and then its core if it has one, that keep their distance from each other."""
        places: list[list[Solid]] = []
        for _ in range(TRIES_A_SITE * sites):
            if len(places) == sites:
                break
            tumour = self._tumour(body, len(places), generator)
            if not any(_touch(tumour[0].shape, other[0].shape, self.distance_mm) for other in places):
                places.append(tumour)
        if len(places) == sites:
            return places
        raise UserError(
            f"sites is {sites}; so many tumours of {list(self.tumour_diameter_mm)} mm do not fit in a mouse"
        )

    def _tumour(self, body: BodyPlan, number: int, generator: torch.Generator) -> list[Solid]:  # noqa: ARG002
        """One tumour of a mouse by its number, from 0: the whole, and then its core if it has one."""
        diameter = uniform(_span(self.tumour_diameter_mm), generator)
        return list(tumour_solids(body, diameter, generator))

    def _tumours(self, body: BodyPlan, generator: torch.Generator) -> Iterator[Solid]:
        """The tumours of one mouse."""
        fewest, most = self.tumours
        count = int(torch.randint(fewest, most + 1, (), generator=generator))
        for number in range(count):
            yield from self._tumour(body, number, generator)

    def _tissues(self, parts: Sequence[tuple[str, str]], generator: torch.Generator) -> Iterator[Tissue]:
        """What fills each part (organ, zone); both kidneys take up alike, each tumour in its own way."""
        organs = dict.fromkeys(organ for organ, _ in parts)
        uptake = {o: self._draw(self.uptake_percent_per_g, o, generator) for o in organs}
        freed = {o: self._draw(self.freed_per_g, o, generator) for o in organs}
        core = {o: uniform(span, generator) for o, span in CORE_UPTAKE.items()}
        for organ, zone in parts:
            if organ == "tumour" and zone == "whole":
                uptake[organ] = self._draw(self.uptake_percent_per_g, organ, generator)
                core[organ] = uniform(CORE_UPTAKE[organ], generator)
            density = _density(organ)
            share = core[organ] if zone == "core" else 1.0
            per_ml = share * uptake[organ] / 100 * density
            yield Tissue(organ, density, per_ml, freed[organ] * density)

    @staticmethod
    def _draw(table: Mapping[str, Sequence[float]], organ: str, generator: torch.Generator) -> float:
        """A value for an organ, that of soft tissue where it is not named, 0 where that is not either."""
        span = table.get(organ, table.get("soft_tissue", (0.0, 0.0)))
        return log_uniform(_span(span), generator)


def _density(organ: str) -> float:
    """Density of an organ in g/cm3."""
    return DENSITY_G_CM3.get(organ, 1.05)


def _touch(one: Shape, other: Shape, distance_mm: float) -> bool:
    """Whether the boxes around two solids overlap, or are less than a distance apart along each axis."""
    return all(
        low < high_of_other + distance_mm and low_of_other < high + distance_mm
        for (low, high), (low_of_other, high_of_other) in zip(one.bounds_mm, other.bounds_mm, strict=True)
    )


def _span(values: Sequence[float]) -> Range:
    """A range checked before."""
    low, high = values
    return float(low), float(high)
