"""A phantom: density (g/cm3), organ labels, and the distribution of the injected nuclide and its progeny."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.grid import VoxelGrid

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
)
"""Names of the labels of a phantom; new names go to the end, since shards hold the numbers."""


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
        maps = []
        for generation, activity_bq in enumerate(heads_bq):
            stays = (1.0 - self.freed_fraction) ** generation
            maps.append(activity_bq * (stays * self.uptake + (1.0 - stays) * moved))
        return torch.stack(maps).float()


class PhantomFamily(Protocol):
    """Draws individuals: the same generator state gives the same phantom.

    Members are frozen dataclasses of plain data, so that a plan that names them can be hashed.
    """

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:
        """One individual on this grid."""
