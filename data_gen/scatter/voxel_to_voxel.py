"""Fluence (1/mm2) in one voxel per photon emitted in another, by spherical harmonic, and tissue paths between
voxels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.grid import VoxelGrid
from data_gen.scatter.harmonics import harmonics

NODES = {0: 40, 1: 10, 2: 4}
"""Nodes along an axis of the mean over two voxels: the same, neighbours, and any farther apart."""


def flight_table(grid: VoxelGrid, order: int) -> Tensor:
    """Fluence in a voxel per photon from another, times harmonics of its direction, without attenuation.

    The mean of Y_lm / (4 pi r^2) over all pairs of points of the two voxels, which is finite for a voxel and
    itself.

    Returns:
        [lm, 2 nz - 1, 2 ny - 1, 2 nx - 1] in 1/mm2, by source minus target voxel, plus n - 1.
    """
    size = [2 * n - 1 for n in grid.shape]
    steps = [torch.arange(count) - count // 2 for count in size]
    offsets = torch.cartesian_prod(*steps).reshape(-1, 3)
    apart = offsets.abs().amax(dim=1).clamp_max(2)
    table = torch.zeros((order + 1) ** 2, len(offsets), dtype=torch.float64)
    for far, nodes in NODES.items():
        for part in (apart == far).nonzero()[:, 0].split(64_000 // nodes**3):
            table[:, part] = _mean_flight(offsets[part], grid, order, nodes)
    return table.reshape(len(table), *size)


def _mean_flight(offset: Tensor, grid: VoxelGrid, order: int, nodes: int) -> Tensor:
    """Mean over points of voxels at ``offset`` [k, 3] (source minus target, z y x), [lm, k]."""
    place, weight = _difference(nodes, graded=not bool(offset.any()))
    point = torch.cartesian_prod(place, place, place)
    weight = torch.cartesian_prod(weight, weight, weight).prod(dim=1)
    spacing = torch.tensor(grid.spacing_mm, dtype=torch.float64)
    way = -((offset[:, None] + point) * spacing).flip(-1)  # towards the target, (x, y, z)
    square = way.square().sum(dim=-1)
    fluence = weight / (4 * math.pi * square)
    return torch.einsum("kp,kpl->lk", fluence, harmonics(way / square.sqrt()[..., None], order))


def _difference(nodes: int, graded: bool) -> tuple[Tensor, Tensor]:
    """Differences of two places within a voxel, in voxels, and the share of each, [node] each.

    Two even distributions differ by a triangle twice as wide; nodes may be graded towards 0.
    """
    even = (torch.arange(nodes, dtype=torch.float64) + 0.5) * 2 / nodes - 1
    place, density = (even**3, even.square()) if graded else (even, torch.ones_like(even))
    weight = density * (1 - place.abs())
    return place, weight / weight.sum()


def path_by_tissue(tissue_density: Tensor, grid: VoxelGrid) -> Tensor:
    """Mass per area between the centres of all pairs of voxels, by tissue.

    Args:
        tissue_density: [batch, tissue, z, y, x] in g/cm3.
        grid: its voxels.

    Returns:
        [batch, tissue, voxel, voxel] in mm g/cm3.
    """
    centre = grid.centres_mm().reshape(-1, 3).to(tissue_density.device)
    z, y, x = grid.extent_mm
    half = centre.new_tensor((x, y, z)) / 2
    steps = max(4, max(grid.shape))
    share = (torch.arange(steps, dtype=centre.dtype, device=centre.device) + 0.5) / steps
    rows = []
    for part in centre.split(max(1, 2_000_000 // (steps * len(centre)))):
        way = part[:, None] - centre
        point = (centre[None, :, None] + share[:, None] * way[:, :, None]) / half
        where = point.to(tissue_density.dtype).reshape(1, 1, 1, -1, 3)
        where = where.expand(len(tissue_density), -1, -1, -1, -1)
        sampled = functional.grid_sample(tissue_density, where, padding_mode="border", align_corners=False)
        mean = sampled.reshape(*tissue_density.shape[:2], *way.shape[:2], steps).mean(dim=-1)
        rows.append(mean * way.norm(dim=-1).to(mean.dtype))
    return torch.cat(rows, dim=2)
