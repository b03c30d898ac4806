"""Individuals without end on few anatomies: regions of even concentration, and activities drawn for them.

Expected counts are linear in activity. Where an individual's activity is even in each of some tens of
regions, its image is a sum of the images of those regions, which are computed once for each anatomy. Volumes
are in mL, concentrations of the parent in shares of the injected activity per mL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from data_gen.core.grid import VoxelGrid
from data_gen.phantoms.phantom import ORGANS, Phantom, PhantomFamily, spread_over_maps
from data_gen.phantoms.voxelise import most_filling

OUTSIDE = ORGANS.index("outside")


class Region(NamedTuple):
    """A part of an anatomy: an organ's, and a place where a tumour may or may not be."""

    organ: int
    """Index into ``ORGANS`` of what is here without the tumour."""
    core: bool
    """Whether it is the organ's core, such as the medulla of kidneys."""
    site: int
    """Number of the tumour that may be here, from 1 on; 0: none."""
    site_core: bool
    """Whether it is that tumour's core."""


@dataclass(frozen=True)
class Anatomy:
    """A body that activity is still to be put into.

    Args:
        density: [z, y, x] in g/cm3; tumours do not show in it.
        filling: fine voxels of each region in each voxel, [region, z, y, x] int16.
        fine_voxels: number of fine voxels in a voxel.
        voxel_ml: volume of a voxel.
        regions: what the regions are.
        body_mass_g: mass of the whole animal.
    """

    density: Tensor
    filling: Tensor
    fine_voxels: int
    voxel_ml: float
    regions: tuple[Region, ...]
    body_mass_g: float

    @property
    def volume_ml(self) -> Tensor:
        """Volume of each region in each voxel, [region, z, y, x] float64."""
        return self.filling.double() * (self.voxel_ml / self.fine_voxels)

    @property
    def total_ml(self) -> Tensor:
        """Volume of each region in view, [region] float64."""
        return self.filling.sum(dim=(1, 2, 3)).double() * (self.voxel_ml / self.fine_voxels)


@dataclass(frozen=True)
class Individual:
    """Activity of one individual on an anatomy.

    Args:
        anatomy: the body.
        organ: index into ``ORGANS`` of what each region is now, [region] int64.
        uptake_per_ml: share of the injected activity per mL, [region] float64; 1 or less in all.
        freed_per_ml: relative concentration of progeny that left its place of birth, [region] float64.
        freed_fraction: share of the progeny that leaves, at each generation of groups.
    """

    anatomy: Anatomy
    organ: Tensor
    uptake_per_ml: Tensor
    freed_per_ml: Tensor
    freed_fraction: float

    @classmethod
    def of(
        cls,
        anatomy: Anatomy,
        organ: Sequence[int],
        uptake_per_ml: Sequence[float],
        freed_per_ml: Sequence[float],
        freed_fraction: float,
    ) -> Individual:
        """One whose uptakes, were they more than is injected, are scaled down to it, as in a phantom."""
        uptake = torch.tensor(uptake_per_ml, dtype=torch.float64)
        taken_up = float(uptake @ anatomy.total_ml)
        freed = torch.tensor(freed_per_ml, dtype=torch.float64)
        return cls(anatomy, torch.tensor(organ), uptake / max(taken_up, 1.0), freed, freed_fraction)

    @property
    def labels(self) -> Tensor:
        """Index into ``ORGANS`` of what fills most of each voxel, [z, y, x] int64."""
        filled = {OUTSIDE: self.anatomy.fine_voxels - self.anatomy.filling.long().sum(0)}
        for organ, count in zip(self.organ.tolist(), self.anatomy.filling.long(), strict=True):
            filled[organ] = filled[organ] + count if organ in filled else count
        return most_filling(filled)

    @property
    def redistributed_per_ml(self) -> Tensor:
        """Where progeny goes that left its place of birth: shares of it per mL, [region] float64."""
        total_ml = self.anatomy.total_ml
        freed = self.freed_per_ml if float(self.freed_per_ml @ total_ml) > 0 else self.uptake_per_ml
        return freed / (freed @ total_ml).clamp_min(1e-30)

    def concentrations(self, heads_bq: Sequence[float]) -> Tensor:
        """Activity of each map in each region in Bq/mL, [map, region] float64; see ``Phantom.activity``."""
        taken_up = self.uptake_per_ml @ self.anatomy.total_ml
        moved = taken_up * self.redistributed_per_ml
        return spread_over_maps(heads_bq, self.uptake_per_ml, moved, self.freed_fraction)

    def phantom(self) -> Phantom:
        """The same individual, voxel by voxel."""
        volume = self.anatomy.volume_ml
        uptake, freed = (
            torch.einsum("r,rzyx->zyx", per_ml, volume)
            for per_ml in (self.uptake_per_ml, self.redistributed_per_ml)
        )
        body = self.anatomy
        return Phantom(body.density, self.labels, uptake, freed, self.freed_fraction, body.body_mass_g)


@runtime_checkable
class RegionalFamily(PhantomFamily, Protocol):
    """A family of phantoms that can draw anatomies, and individuals on them."""

    def anatomy(self, grid: VoxelGrid, sites: int, generator: torch.Generator) -> Anatomy:
        """One body with so many places where tumours may be."""

    def individual(self, anatomy: Anatomy, generator: torch.Generator) -> Individual:
        """Activity of an individual with this body; a random choice of the places has tumours."""
