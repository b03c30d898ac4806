"""Spatial distributions of decays: points, and voxels. Lengths are in mm; only ratios of activity matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid


class Source(Protocol):
    """A spatial distribution of decays; results are per decay, so only ratios of activity matter."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Points of decay [count, 3] in mm."""


@dataclass(frozen=True)
class PointSource:
    """Point sources with relative activities, equal by default.

    Args:
        points_mm: (x, y, z) of each.
        activity: of each, 0 or more.

    Raises:
        UserError: no points, or activities that are negative, all zero or not as many.
    """

    points_mm: Sequence[tuple[float, float, float]]
    activity: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not len(self.points_mm):
            raise UserError("source.points_mm is empty; it needs one (x, y, z) or more")
        _checked(self._activity(), len(self.points_mm))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """See :class:`Source`."""
        points = torch.tensor(self.points_mm, dtype=torch.float64, device=generator.device)
        return points[_picked(self._activity(), count, generator)]

    def _activity(self) -> Tensor:
        return torch.tensor(self.activity or [1.0] * len(self.points_mm), dtype=torch.float64)


@dataclass(frozen=True)
class VoxelSource:
    """Activity on a grid, uniform within each voxel.

    Args:
        grid: voxels.
        activity: [z, y, x], 0 or more.

    Raises:
        UserError: activities that are negative, all zero or not on the grid.
    """

    grid: VoxelGrid
    activity: Tensor

    def __post_init__(self) -> None:
        if tuple(self.activity.shape) != self.grid.shape:
            raise UserError(
                f"source.activity is {list(self.activity.shape)}; the grid needs {list(self.grid.shape)}"
            )
        _checked(self.activity.reshape(-1), self.grid.voxels)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """See :class:`Source`."""
        voxel = _picked(self.activity.reshape(-1), count, generator)
        z, y, x = self.grid.spacing_mm
        edge = torch.tensor((x, y, z), dtype=torch.float64, device=generator.device)
        centre = self.grid.centres_mm().reshape(-1, 3).to(generator.device)[voxel]
        random = torch.rand(count, 3, generator=generator, dtype=torch.float64, device=generator.device)
        return centre + (random - 0.5) * edge


def _checked(activity: Tensor, count: int) -> None:
    """Check that activities can be sampled from.

    Raises:
        UserError: they cannot.
    """
    sound = len(activity) == count and bool(torch.isfinite(activity).all()) and float(activity.min()) >= 0
    if not sound or float(activity.sum()) <= 0:
        raise UserError(
            f"source.activity must be {count} numbers of 0 or more, not all 0; it has {len(activity)}"
        )


def _picked(activity: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Indices [count] sampled in proportion to the activities."""
    rising = activity.to(generator.device, torch.float64).cumsum(0)
    random = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
    return torch.searchsorted(rising, random * rising[-1], right=True).clamp_max(len(rising) - 1)
