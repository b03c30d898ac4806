"""Mouse phantoms: anatomy, tumours and uptake (percent injected activity per gram) sampled for each
individual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import Range, checked_range, log_uniform, uniform
from data_gen.phantoms.anatomy import REFERENCE_MASS_G, Individual, Solid, mouse_solids, tumour_solids
from data_gen.phantoms.biodistribution import checked_biodistribution
from data_gen.phantoms.phantom import Phantom
from data_gen.phantoms.voxelise import OUTSIDE, Tissue, paint, phantom_of

DENSITY_G_CM3 = {"lungs": 0.30, "bone": 1.60}
"""Mouse bone is a mixture of cortical bone and marrow at this scale; all else is soft tissue at 1.05."""

CORE_UPTAKE: dict[str, Range] = {"kidneys": (0.3, 0.8), "tumour": (0.2, 1.0)}
"""Uptake of medulla and of a tumour's core (dying tissue) relative to the rest."""


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
        mass = uniform(_span(self.body_mass_g), generator)
        offset = uniform(_span(self.bed_offset_mm), generator)
        individual = Individual((mass / REFERENCE_MASS_G) ** (1 / 3), offset)
        solids = [*mouse_solids(individual, generator), *self._tumours(individual, generator)]
        tissues = [OUTSIDE, *self._tissues(solids, generator)]
        fine = paint([solid.shape for solid in solids], grid, self.supersampling)
        freed_fraction = uniform(_span(self.freed_fraction), generator)
        return phantom_of(fine, tissues, grid, freed_fraction, mass)

    def _tumours(self, individual: Individual, generator: torch.Generator) -> Iterator[Solid]:
        """The tumours of one mouse."""
        fewest, most = self.tumours
        count = int(torch.randint(fewest, most + 1, (), generator=generator))
        for _ in range(count):
            diameter = uniform(_span(self.tumour_diameter_mm), generator)
            yield from tumour_solids(individual, diameter, generator)

    def _tissues(self, solids: Sequence[Solid], generator: torch.Generator) -> Iterator[Tissue]:
        """What fills each solid; both kidneys take up alike, each tumour in its own way."""
        organs = dict.fromkeys(solid.organ for solid in solids)
        uptake = {o: self._draw(self.uptake_percent_per_g, o, generator) for o in organs}
        freed = {o: self._draw(self.freed_per_g, o, generator) for o in organs}
        core = {o: uniform(span, generator) for o, span in CORE_UPTAKE.items()}
        for solid in solids:
            organ = solid.organ
            if organ == "tumour" and solid.zone == "whole":
                uptake[organ] = self._draw(self.uptake_percent_per_g, organ, generator)
                core[organ] = uniform(CORE_UPTAKE[organ], generator)
            density = DENSITY_G_CM3.get(organ, 1.05)
            share = core[organ] if solid.zone == "core" else 1.0
            per_ml = share * uptake[organ] / 100 * density
            yield Tissue(organ, density, per_ml, freed[organ] * density)

    @staticmethod
    def _draw(table: Mapping[str, Sequence[float]], organ: str, generator: torch.Generator) -> float:
        """A value for an organ, that of soft tissue where it is not named, 0 where that is not either."""
        span = table.get(organ, table.get("soft_tissue", (0.0, 0.0)))
        return log_uniform(_span(span), generator)


def _span(values: Sequence[float]) -> Range:
    """A range checked before."""
    low, high = values
    return float(low), float(high)
