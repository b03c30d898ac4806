"""Transmission of the object on the line from each voxel to each aperture: exp(-integral of mu).

From density by tissue in g/cm3 and mass attenuation in 1/mm per g/cm3; dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.autograd import recomputed
from data_gen.core.grid import VoxelGrid

POINTS_AT_ONCE = 8192
"""Points of lines sampled at a time, so that their values stay in the processor's cache."""

MOST_KEPT_BYTES = 2**26
"""Memory that the samples of all lines may take, which else are found anew for each object."""

Corners = tuple[NDArray[np.int32], NDArray[np.floating[Any]]]
"""Flat indices of the eight voxels around each point, and their weights, [point, 8] each."""


class ApertureTransmission(nn.Module):
    """exp(-path of mu) from voxel centres to aperture centres.

    Paths are traced from every ``stride``-th voxel and interpolated, since they change slowly.

    Args:
        aperture_mm: aperture centres [aperture, 3].
        mass_attenuation: of each tissue at each energy [tissue, g], 1/mm per g/cm3.
        grid: voxels.
        stride: voxels between traced ones.
    """

    def __init__(
        self, aperture_mm: Tensor, mass_attenuation: Tensor, grid: VoxelGrid, stride: int = 2
    ) -> None:
        super().__init__()
        self.grid = grid
        self.coarse = tuple(math.ceil((n - 1) / stride) + 1 for n in grid.shape)
        axes = [
            torch.linspace(float(a[0]), float(a[-1]), n)
            for a, n in zip(_axes(grid), self.coarse, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        self.steps = max(8, math.ceil(0.75 * max(grid.shape)))
        self.register_buffer(
            "start_mm", torch.stack((x, y, z), dim=-1).reshape(-1, 3).double(), persistent=False
        )
        self.register_buffer("aperture_mm", aperture_mm.detach(), persistent=False)
        self.register_buffer("mass_attenuation", mass_attenuation, persistent=False)
        self._kept: dict[tuple[int, torch.dtype], tuple[list[Corners], NDArray[np.floating[Any]]]] = {}

    start_mm: Tensor
    aperture_mm: Tensor
    mass_attenuation: Tensor

    def forward(self, tissue_density: Tensor, mirrors: tuple[tuple[int, ...], ...] = ((),)) -> Tensor:
        """Transmission to each aperture, and through the mirrored object to each aperture.

        Args:
            tissue_density: density by tissue [batch, tissue, z, y, x] in g/cm3.
            mirrors: axes to flip, for each mirror image of the object.

        Returns:
            [batch, g, aperture, voxel, mirror].
        """
        mirrored = torch.stack([tissue_density.flip(axes) for axes in mirrors])
        present = _present(mirrored)
        if torch.is_grad_enabled() and mirrored.requires_grad:
            # Recomputed in the backward pass rather than stored.
            traced = [
                recomputed(self._one, mirrored, present, a, needed=True) for a in range(len(self.aperture_mm))
            ]
            return torch.stack(traced, dim=2)
        energies, apertures = self.mass_attenuation.shape[1], len(self.aperture_mm)
        shape = (len(tissue_density), energies, apertures, self.grid.voxels, len(mirrors))
        transmission = mirrored.new_empty(shape)
        for aperture in range(apertures):
            transmission[:, :, aperture] = self._one(mirrored, present, aperture)
        return transmission

    def _one(self, mirrored: Tensor, present: list[int], aperture: int) -> Tensor:
        """Transmission to one aperture through the tissues that are present, [batch, g, voxel, mirror]."""
        images, tissues = mirrored.shape[0] * mirrored.shape[1], mirrored.shape[2]
        density = mirrored[:, :, present].flatten(0, 2)
        path = self._paths(density, aperture)
        traced = path.reshape(images, len(present), *self.coarse)
        if self.coarse != self.grid.shape:
            traced = functional.interpolate(
                traced, size=self.grid.shape, mode="trilinear", align_corners=True
            )
        fine = traced.flatten(2)
        if len(present) < tissues:
            absent = fine.new_zeros(images, tissues, self.grid.voxels)
            fine = absent.index_copy(1, torch.tensor(present, device=fine.device), fine)
        attenuation = torch.einsum("itv,tg->igv", fine, self.mass_attenuation.to(fine.dtype))
        transmission: Tensor = torch.exp(-attenuation).unflatten(0, mirrored.shape[:2]).movedim(0, -1)
        return transmission

    def _paths(self, density: Tensor, aperture: int) -> Tensor:
        """Integrals of volumes [volume, z, y, x] from traced voxels to an aperture, [volume, voxel]."""
        size = len(self.aperture_mm) * len(self.start_mm) * self.steps * 8 * (4 + density.element_size())
        if not _sparse(density) or size > MOST_KEPT_BYTES:
            point, step = self._samples(aperture)
            return line_sums(density, point.to(density.dtype)) * step.to(density.dtype)
        key = aperture, density.dtype
        if key not in self._kept:
            point, step = self._samples(aperture)
            corners = list(_corners(point.to(density.dtype), density.shape[1:]))
            self._kept[key] = corners, step.to(density.dtype).numpy()
        corners, step_mm = self._kept[key]
        return _sums_at(density, corners, self.steps) * torch.from_numpy(step_mm)

    def _samples(self, aperture: int) -> tuple[Tensor, Tensor]:
        """Midpoints of steps out of the grid, for grid_sample [voxel, step, 3], and mm of a step [voxel]."""
        way = self.aperture_mm[aperture] - self.start_mm
        z, y, x = self.grid.extent_mm
        half = torch.tensor((x, y, z), dtype=way.dtype, device=way.device) / 2
        face = torch.where(way > 0, half, -half)
        share = ((face - self.start_mm) / torch.where(way == 0, 1e-9, way)).abs().amin(dim=1).clamp_max(1.0)
        midpoint = (torch.arange(self.steps, dtype=way.dtype, device=way.device) + 0.5) / self.steps
        point = self.start_mm[:, None] + (share[:, None] * midpoint)[..., None] * way[:, None]
        return point / half, share * way.norm(dim=1) / self.steps


def line_sums(volumes: Tensor, point: Tensor) -> Tensor:
    """Sums of what volumes hold at the points of lines, linear between the centres of voxels, 0 outside.

    On the CPU, where no gradient is asked for, a sparse product does what ``grid_sample`` does, to the same
    bits, in about a fourth of the time: it finds the voxels around a point once for all volumes.

    Args:
        volumes: [volume, z, y, x].
        point: (x, y, z) from -1 to 1, the outer faces of the grid, [line, step, 3].

    Returns:
        [volume, line].
    """
    if not _sparse(volumes):
        sampled = functional.grid_sample(
            volumes[None], point[None, None], padding_mode="zeros", align_corners=False
        )
        return sampled[0, :, 0].sum(dim=-1)
    return _sums_at(volumes, _corners(point, volumes.shape[1:]), point.shape[1])


def _sparse(volumes: Tensor) -> bool:
    """Whether volumes are sampled by a sparse product: on the CPU, where no gradient is asked for."""
    return volumes.device.type == "cpu" and not (torch.is_grad_enabled() and volumes.requires_grad)


def _sums_at(volumes: Tensor, parts: Iterable[Corners], steps: int) -> Tensor:
    """Sums [volume, line] of volumes [volume, z, y, x] over the steps of lines, from the points' corners."""
    table = functional.pad(volumes, (1,) * 6).flatten(1).T.contiguous().numpy()
    sums = []
    for voxel, weight in parts:
        row = np.arange(0, voxel.size + 1, voxel.shape[1], dtype=voxel.dtype)
        matrix = csr_array((weight.ravel(), voxel.ravel(), row), shape=(len(voxel), len(table)))
        sampled = torch.from_numpy(matrix @ table).unflatten(0, (-1, steps))
        sums.append(sampled.movedim(2, 0).contiguous().sum(dim=-1))
    return torch.cat(sums, dim=1)


def _corners(point: Tensor, shape: torch.Size) -> Iterator[Corners]:
    """The eight voxels around each point of a grid with a border of one voxel, some lines at a time.

    In the order, and rounded as, ``grid_sample`` takes them.

    Args:
        point: (x, y, z) from -1 to 1, [line, step, 3].
        shape: of the grid without its border, (z, y, x).
    """
    size = torch.tensor(shape[::-1], dtype=point.dtype)[:, None]
    rows, columns = shape[1] + 2, shape[2] + 2
    step = torch.tensor((0, 1, columns, columns + 1), dtype=torch.int32)
    beyond = torch.cat((step, step + rows * columns))
    for part in point.split(max(1, POINTS_AT_ONCE // point.shape[1])):
        place = ((part.flatten(0, 1).T + 1) * size - 1) / 2
        below = place.floor()
        beside = torch.stack((below + 1 - place, place - below))  # shares of the voxels below and above
        x, y, z = (beside[:, axis] for axis in range(3))
        weight = (x * y[:, None]).flatten(0, 1) * z[:, None]
        x, y, z = below.to(torch.int32) + 1
        voxel = ((z * rows + y) * columns + x) + beyond[:, None]
        yield voxel.T.contiguous().numpy(), weight.flatten(0, 1).T.contiguous().numpy()


def _present(mirrored: Tensor) -> list[int]:
    """Tissues that some object holds, one at least, of [mirror, batch, tissue, z, y, x]."""
    held = mirrored[0].detach().ne(0).any(dim=-1).any(dim=-1).any(dim=-1).any(dim=0)
    return held.nonzero()[:, 0].tolist() or [0]


def _axes(grid: VoxelGrid) -> list[Tensor]:
    return [grid.axis_mm(axis) for axis in range(3)]
