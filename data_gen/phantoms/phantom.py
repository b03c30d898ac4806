"""A phantom: density (g/cm3), organ labels, and the distribution of the injected nuclide and its progeny."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import VoxelGrid
from data_gen.nuclides import DecayChain, MemberGroups, mean_activity

ORGANS = (
    "outside",
    "soft_tissue",
    "bone",
    "lungs",
    "heart",
    "liver",
    "spleen",
    "kidneys",
    "stomach",
    "gut",
    "bladder",
    "tumour",
    "brain",
    "pancreas",
    "testes",
    "adrenals",
    "muscle",
    "eyes",
    "glands",
    "rods",
    "cold",
    "necrosis",
)
"""Names of the labels of a phantom; new names go to the end, since shards hold the numbers."""


def checked_labels(labels: Tensor, source: str) -> Tensor:
    """The same labels, after checking that each is an index into :data:`ORGANS`.

    Raises:
        UserError: one is none.
    """
    low, high = int(labels.min()), int(labels.max())
    if labels.dtype.is_floating_point or low < 0 or high >= len(ORGANS):
        raise UserError(
            f"{source}: labels of {labels.dtype} span {low} to {high}; they need whole numbers from 0 to "
            f"{len(ORGANS) - 1}, one for each organ"
        )
    return labels


class ScannedObject(Protocol):
    """What a scan needs to know of one individual, whatever model its activity follows."""

    @property
    def density(self) -> Tensor:
        """Density [z, y, x] in g/cm3."""

    @property
    def labels(self) -> Tensor:
        """Index into :data:`ORGANS` of what fills most of each voxel, [z, y, x] int64."""

    @property
    def body_mass_g(self) -> float:
        """Mass of the whole animal, also of what the grid does not hold."""

    def mean_activity(
        self, chain: DecayChain, groups: MemberGroups, injected_bq: float, frame: Frame
    ) -> Tensor:
        """Mean activity over a frame of the head of each group, [map, z, y, x] in Bq per voxel, float32.

        Args:
            chain: decay chain of the injected nuclide.
            groups: which of its members share a map.
            injected_bq: activity of the chain's first member at time 0, freshly separated.
            frame: frame of the scan, after the injection.
        """


@dataclass(frozen=True)
class Phantom:
    """An object on a grid, for one unit of injected activity.

    Args:
        density: [z, y, x] in g/cm3.
        labels: index into :data:`ORGANS` of what fills most of each voxel, [z, y, x] int64.
        uptake: share of the injected activity in each voxel, [z, y, x]; sums to 1 or less.
        redistributed: where progeny goes that left its place of birth, [z, y, x]; sums to 1.
        freed_fraction: share of the progeny that leaves, at each generation of groups.
        body_mass_g: mass of the whole animal, also of what the grid does not hold.
    """

    density: Tensor
    labels: Tensor
    uptake: Tensor
    redistributed: Tensor
    freed_fraction: float
    body_mass_g: float

    def activity(self, heads_bq: Sequence[float]) -> Tensor:
        """Activity of the head of each group, [map, z, y, x] in Bq per voxel, float32.

        Group k stays with the parent's uptake with probability (1 - freed_fraction)^k, one chance to
        leave at each generation before it; what left lies where ``redistributed`` says. No activity
        enters or leaves the grid on the way.

        Args:
            heads_bq: activity of each group's head, in the whole body, if all that was injected stays in it.
        """
        moved = self.uptake.sum() * self.redistributed
        return spread_over_maps(heads_bq, self.uptake, moved, self.freed_fraction).float()

    def mean_activity(
        self, chain: DecayChain, groups: MemberGroups, injected_bq: float, frame: Frame
    ) -> Tensor:
        """See :class:`ScannedObject`; progeny is moved as :meth:`activity` says."""
        mean = mean_activity(chain, injected_bq, frame.start_s, frame.end_s)
        return self.activity([mean[head] for head in groups.heads])


def spread_over_maps(
    heads_bq: Sequence[float], uptake: Tensor, moved: Tensor, freed_fraction: float
) -> Tensor:
    """Activity of the head of each group, [map, ...]; see :meth:`Phantom.activity`.

    Args:
        heads_bq: activity of each group's head in the whole body.
        uptake: share of the injected activity in each place, [...].
        moved: share in each place, were all progeny to leave where it was born, [...].
        freed_fraction: share of the progeny that leaves, at each generation of groups.
    """
    maps = []
    for generation, activity_bq in enumerate(heads_bq):
        stays = (1.0 - freed_fraction) ** generation
        maps.append(activity_bq * (stays * uptake + (1.0 - stays) * moved))
    return torch.stack(maps)


class PhantomFamily(Protocol):
    """Draws individuals: the same generator state gives the same phantom.

    Members are frozen dataclasses of plain data, so that a plan that names them can be hashed.
    """

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> ScannedObject:
        """One individual on this grid."""


@runtime_checkable
class NuclidePhantomFamily(PhantomFamily, Protocol):
    """A family that depends on which nuclide is injected."""

    def for_chain(self, chain: DecayChain) -> PhantomFamily:
        """The family for this nuclide and its progeny.

        Raises:
            UserError: the family has no meaning for this nuclide.
        """


def family_for(family: PhantomFamily, chain: DecayChain) -> PhantomFamily:
    """The family of an injected nuclide: the same one, unless it depends on the nuclide.

    Raises:
        UserError: the family has no meaning for this nuclide.
    """
    return family.for_chain(chain) if isinstance(family, NuclidePhantomFamily) else family
