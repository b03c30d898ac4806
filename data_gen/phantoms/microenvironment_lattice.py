"""A fine voxel lattice within the voxels of a grid that a ball touches, and averages over it.
Lengths in mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid

_MOST_VOXELS = 30_000_000


@dataclass(frozen=True, eq=False)
class FineLattice:
    """A box of voxels, each cut evenly into fine ones.

    Args:
        grid: voxels that are cut.
        boxes: first voxel and the one after the last, along (z, y, x).
        factors: fine voxels along each edge of a voxel, (z, y, x).
        places_mm: centres of the fine voxels along (z, y, x), from the centre of the ball.
    """

    grid: VoxelGrid
    boxes: tuple[tuple[int, int], ...]
    factors: tuple[int, ...]
    places_mm: tuple[Tensor, ...]

    def averaged(self, fine: Tensor) -> Tensor:
        """Means of fine values over each voxel, [z, y, x] of the grid; 0 outside the box."""
        split = [size for n, f in zip(fine.shape, self.factors, strict=True) for size in (n // f, f)]
        result = torch.zeros(self.grid.shape, dtype=fine.dtype)
        result[tuple(slice(*box) for box in self.boxes)] = fine.reshape(split).mean(dim=(1, 3, 5))
        return result


def fine_lattice(
    grid: VoxelGrid, centre_mm: Sequence[float], radius_mm: float, fine_mm: float
) -> FineLattice:
    """Fine voxels of at most ``fine_mm`` in the box around a ball at (x, y, z).

    Raises:
        UserError: the ball leaves the grid, or there are too many fine voxels.
    """
    centre = [float(c) for c in reversed(centre_mm)]
    if not all(abs(c) + radius_mm <= e / 2 for c, e in zip(centre, grid.extent_mm, strict=True)):
        raise UserError(
            f"a tumour of {radius_mm} mm at {list(centre_mm)} (x, y, z) leaves the grid of "
            f"{list(grid.extent_mm)} mm (z, y, x); it needs to lie within"
        )
    boxes = tuple(_box(grid, axis, centre[axis], radius_mm) for axis in range(3))
    factors = tuple(math.ceil(edge / fine_mm - 1e-9) for edge in grid.spacing_mm)
    count = math.prod((high - low) * n for (low, high), n in zip(boxes, factors, strict=True))
    if count > _MOST_VOXELS:
        raise UserError(
            f"a tumour of {radius_mm} mm has {count} fine voxels of {fine_mm} mm; "
            f"fine_mm needs to be larger, for at most {_MOST_VOXELS}"
        )
    places = tuple(_fine_mm(grid, axis, boxes[axis], factors[axis]) - centre[axis] for axis in range(3))
    return FineLattice(grid, boxes, factors, places)


def _box(grid: VoxelGrid, axis: int, centre: float, radius: float) -> tuple[int, int]:
    """First voxel that the ball touches along an axis, and the one after the last."""
    middle = grid.shape[axis] / 2
    low, high = ((centre + side * radius) / grid.spacing_mm[axis] + middle for side in (-1, 1))
    return max(0, math.floor(low)), min(grid.shape[axis], math.ceil(high))


def _fine_mm(grid: VoxelGrid, axis: int, box: tuple[int, int], factor: int) -> Tensor:
    """Centres of the fine voxels within a box along an axis."""
    step = grid.spacing_mm[axis] / factor
    first = (box[0] - grid.shape[axis] / 2) * grid.spacing_mm[axis]
    return first + (torch.arange((box[1] - box[0]) * factor, dtype=torch.float64) + 0.5) * step
