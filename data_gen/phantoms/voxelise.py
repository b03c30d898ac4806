"""Conversion of solids (mm) to voxels, with partial volumes by supersampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.grid import VoxelGrid
from data_gen.core.memory import check_memory
from data_gen.phantoms.phantom import ORGANS, Phantom
from data_gen.phantoms.shapes import Shape

FINE_BYTES = 14
"""Memory that a fine voxel takes: its number, the number as an index, and a value of its tissue."""


@dataclass(frozen=True)
class Tissue:
    """What fills a part: organ, density, and concentrations of parent and of freed progeny.

    ``uptake_per_ml`` is the share of the injected activity per mL; ``freed_per_ml`` is relative.
    """

    organ: str
    density_g_cm3: float
    uptake_per_ml: float = 0.0
    freed_per_ml: float = 0.0


OUTSIDE = Tissue("outside", 0.0012)
"""Air, without activity."""


def fine_axis_mm(grid: VoxelGrid, axis: int, supersampling: int) -> Tensor:
    """Centres of ``supersampling`` slices of each voxel along axis 0 (z), 1 (y) or 2 (x), float32.

    Raises:
        UserError: the fine voxels of the whole grid do not fit into memory.
    """
    check_memory(
        FINE_BYTES * grid.voxels * supersampling**3,
        f"grid.shape {list(grid.shape)} with {supersampling} fine voxels along each edge of a voxel",
    )
    n, s = grid.shape[axis] * supersampling, grid.spacing_mm[axis] / supersampling
    return ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s).float()


def paint(shapes: Sequence[Shape], grid: VoxelGrid, supersampling: int) -> Tensor:
    """Number of the last shape that holds each fine voxel, counted from 1; 0 outside all, [Z, Y, X] uint8."""
    axes = [fine_axis_mm(grid, a, supersampling) for a in (2, 1, 0)]
    fine = torch.zeros(*(len(a) for a in reversed(axes)), dtype=torch.uint8)
    for number, shape in enumerate(shapes, start=1):
        box = [_within(axis, *bounds) for axis, bounds in zip(axes, shape.bounds_mm, strict=True)]
        x, y, z = (axis[cut] for axis, cut in zip(axes, box, strict=True))
        region = fine[box[2], box[1], box[0]]
        region[shape.contains(x[None, None, :], y[None, :, None], z[:, None, None])] = number
    return fine


def _within(axis: Tensor, low: float, high: float) -> slice:
    """The slice of a rising axis between two values."""
    first, last = torch.searchsorted(axis, torch.tensor([low - 1e-4, high + 1e-4]))
    return slice(int(first), int(last))


def phantom_of(
    fine: Tensor,
    tissues: Sequence[Tissue],
    grid: VoxelGrid,
    freed_fraction: float = 0.0,
    body_mass_g: float | None = None,
) -> Phantom:
    """The phantom whose fine voxels [Z, Y, X] hold numbers of ``tissues``.

    Uptakes that together exceed the injected activity are scaled down to it. Freed progeny stays where
    the parent is if no tissue in view takes it up. The body's mass is that in view unless told otherwise.
    """
    volume = grid.voxel_volume_ml
    density = _mean(fine, [t.density_g_cm3 for t in tissues], grid)
    uptake = _mean(fine, [t.uptake_per_ml for t in tissues], grid) * volume
    uptake = uptake / max(float(uptake.sum()), 1.0)
    freed = _mean(fine, [t.freed_per_ml for t in tissues], grid)
    if float(freed.sum()) <= 0:
        freed = uptake
    labels = _labels(fine, tissues, grid)
    mass = float(density[labels > 0].sum()) * volume
    return Phantom(
        density.float(),
        labels,
        uptake,
        freed / freed.sum().clamp_min(1e-30),
        freed_fraction,
        mass if body_mass_g is None else body_mass_g,
    )


def _blocks(fine: Tensor, grid: VoxelGrid) -> Tensor:
    """Fine voxels gathered by voxel, [z, y, x, fine voxels in it]."""
    z, y, x = grid.shape
    n = len(fine) // z
    return fine.reshape(z, n, y, n, x, n).permute(0, 2, 4, 1, 3, 5).reshape(z, y, x, n**3)


def _mean(fine: Tensor, values: Sequence[float], grid: VoxelGrid) -> Tensor:
    """Mean over each voxel of a value of its tissues, float64."""
    table = torch.tensor(values, dtype=torch.float64)
    if math.isclose(float(table.abs().max()), 0.0):
        return torch.zeros(grid.shape, dtype=torch.float64)
    return table[_blocks(fine, grid).int()].mean(-1)


def _labels(fine: Tensor, tissues: Sequence[Tissue], grid: VoxelGrid) -> Tensor:
    """The organ that fills most of each voxel."""
    organ_of = torch.tensor([ORGANS.index(t.organ) for t in tissues], dtype=torch.uint8)
    blocks = organ_of[_blocks(fine, grid).int()]
    return most_filling({organ: (blocks == organ).sum(-1) for organ in torch.unique(organ_of).tolist()})


def most_filling(filled: Mapping[int, Tensor]) -> Tensor:
    """The organ that fills most of each voxel, [z, y, x] int64; the later in ``ORGANS`` of two equal ones.

    Args:
        filled: index into ``ORGANS`` to the number of fine voxels that the organ fills, [z, y, x].
    """
    most = torch.zeros_like(next(iter(filled.values())), dtype=torch.int64)
    labels = torch.zeros_like(most)
    for organ, count in sorted(filled.items()):
        labels[(count >= most) & (count > 0)] = organ
        most = torch.maximum(most, count)
    return labels


def filling_of(fine: Tensor, regions: int, grid: VoxelGrid) -> Tensor:
    """Number of the fine voxels [Z, Y, X] in each voxel that hold each number under ``regions``.

    Returns:
        [region, z, y, x] int16.
    """
    blocks = _blocks(fine, grid)
    return torch.stack([(blocks == region).sum(-1) for region in range(regions)]).to(torch.int16)
