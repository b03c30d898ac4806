"""Photons that metal sends on from around one aperture to the pixels behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.scatter.metal import Eye
from data_gen.scatter.metal_physics import Metal
from data_gen.scatter.metal_rays import MetalRays, MetalSampling
from data_gen.scatter.metal_sight import MetalSight
from data_gen.scatter.metal_stops import Stops, together
from data_gen.scatter.metal_walk import walked

VOXELS_AT_ONCE = 128


def metal_matrix(
    camera: Camera,
    aperture: int,
    blocks: Tensor,
    grid: VoxelGrid,
    energy_kev: float,
    arrival_kev: Tensor,
    sampling: MetalSampling,
) -> tuple[Tensor, Tensor]:
    """First interactions in each block per photon from each voxel, [block, k, voxel] float32, and how those
    of all voxels fill the Compton classes, [block, Compton class, part].

    Args:
        camera: the camera with binned pixels.
        aperture: number of the aperture.
        blocks: the pixels behind it, [block].
        grid: coarse voxels.
        energy_kev: of emission.
        arrival_kev: edges of the classes, K lines first, [k, 2].
        sampling: how finely.
    """
    eye, metal = Eye.of(camera, aperture), Metal.of(camera.collimator_material)
    rays = MetalRays(camera, eye, grid, sampling)
    sight = MetalSight(camera, eye, blocks, metal, sampling.out_steps)

    def stops(voxels: Tensor) -> Stops:
        every = first = rays.first_stops(voxels, metal, energy_kev)
        if sampling.orders > 1:
            how = sampling.orders, sampling.walks, sampling.walk_steps
            every = together([first, walked(eye, first, metal, *how)])
        return sight.worthy(every, sampling.seen)

    parts = torch.arange(grid.voxels).split(VOXELS_AT_ONCE)
    seen, filled = zip(*(sight.seen(stops(v), arrival_kev) for v in parts), strict=True)
    return torch.cat(seen, dim=2), torch.stack(filled).sum(0)
