"""Voxel grids (mm) and energy axes (keV)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory

VOXEL_BYTES = 100
"""Memory that a voxel takes: coordinates 24 bytes, density 4, label 8, maps and their copies; chosen."""


@dataclass(frozen=True)
class VoxelGrid:
    """A regular grid centred on the isocentre of the camera.

    Tensors on the grid are indexed [z, y, x]; points are (x, y, z) in mm; z is the axis of the ring.

    Args:
        shape: voxels along (z, y, x).
        spacing_mm: voxel edge, one number or (z, y, x), in mm.

    Raises:
        UserError: a size or an edge is not positive and finite, or the voxels do not fit into memory.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def __init__(self, shape: Sequence[int], spacing_mm: float | Sequence[float]) -> None:
        edges = [spacing_mm] * 3 if isinstance(spacing_mm, (int, float)) else list(spacing_mm)
        if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
            raise UserError(f"grid.shape is {list(shape)}; it needs three positive whole numbers (z, y, x)")
        if len(edges) != 3 or any(not math.isfinite(s) or s <= 0 for s in edges):
            raise UserError(f"grid.spacing_mm is {spacing_mm}; it needs positive voxel edges in mm")
        check_memory(VOXEL_BYTES * math.prod(int(n) for n in shape), f"grid.shape {list(shape)}")
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "spacing_mm", tuple(float(s) for s in edges))

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in mL."""
        return math.prod(self.spacing_mm) / 1000.0

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Edge lengths of the whole grid along (z, y, x) in mm."""
        z, y, x = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x

    def axis_mm(self, axis: int) -> Tensor:
        """Voxel centres along axis 0 (z), 1 (y) or 2 (x), in mm, float64."""
        n, s = self.shape[axis], self.spacing_mm[axis]
        return (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s

    def centres_mm(self) -> Tensor:
        """Voxel centres as points (x, y, z) in mm, float64, [z, y, x, 3]."""
        z, y, x = torch.meshgrid(*(self.axis_mm(a) for a in range(3)), indexing="ij")
        return torch.stack((x, y, z), dim=-1)

    def to_dict(self) -> dict[str, list[float] | list[int]]:
        """Plain numbers that rebuild the grid."""
        return {"shape": list(self.shape), "spacing_mm": list(self.spacing_mm)}


class EnergyAxis(Protocol):
    """Contiguous energy intervals; ``edges_kev`` is [bins + 1], rising, float64."""

    @property
    def edges_kev(self) -> Tensor:
        """Bin edges in keV."""

    @property
    def count(self) -> int:
        """Number of bins."""


@dataclass(frozen=True)
class EnergyBins:
    """``count`` equal bins between ``min_kev`` and ``max_kev``."""

    min_kev: float
    max_kev: float
    count: int

    def __post_init__(self) -> None:
        if not (0 <= self.min_kev < self.max_kev < math.inf):
            raise UserError(
                f"energy bins run from {self.min_kev} to {self.max_kev} keV; they need 0 <= min_kev < max_kev"
            )
        if self.count < 1:
            raise UserError(f"energy_bins.count is {self.count}; it needs at least 1")
        check_memory(8 * self.count, f"energy_bins.count {self.count}")

    @property
    def edges_kev(self) -> Tensor:
        """Bin edges in keV, [count + 1]."""
        return torch.linspace(self.min_kev, self.max_kev, self.count + 1, dtype=torch.float64)


@dataclass(frozen=True)
class EnergyWindows:
    """Contiguous windows of unequal width, given by their rising edges in keV."""

    boundaries_kev: tuple[float, ...]

    def __init__(self, boundaries_kev: Sequence[float]) -> None:
        edges = tuple(float(e) for e in boundaries_kev)
        if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)) or edges[0] < 0:
            raise UserError(
                f"windows.boundaries_kev is {list(edges)}; it needs two or more rising energies in keV"
            )
        object.__setattr__(self, "boundaries_kev", edges)

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.boundaries_kev) - 1

    @property
    def edges_kev(self) -> Tensor:
        """Window edges in keV, [count + 1]."""
        return torch.tensor(self.boundaries_kev, dtype=torch.float64)


def bin_index(axis: EnergyAxis, energy_kev: Tensor) -> Tensor:
    """Bin of each energy; -1 outside the axis. The last edge is outside, as every upper edge is."""
    edges = axis.edges_kev.to(energy_kev.device)
    index = torch.bucketize(energy_kev.to(torch.float64), edges, right=True) - 1
    return torch.where((index >= 0) & (index < axis.count), index, -1)
