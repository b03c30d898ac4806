"""Photons that metal sends on from around one aperture to the pixels behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.scatter.metal.compton import compton_photons
from data_gen.scatter.metal.eye import Eye
from data_gen.scatter.metal.k_photons import k_photons
from data_gen.scatter.metal.physics import Metal
from data_gen.scatter.metal.rays import MetalRays
from data_gen.scatter.metal.sampling import MetalSampling
from data_gen.scatter.metal.stops import together
from data_gen.scatter.metal.walk import walked
from data_gen.scatter.metal.ways import Blocks

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
    behind = Blocks(camera, eye, blocks, metal, sampling.out_steps)

    lines = len(metal.k_kev)

    def seen(voxels: Tensor) -> tuple[Tensor, Tensor]:
        first_lines = rays.lines(voxels, metal, energy_kev)
        every = rays.first_stops(first_lines, metal)
        of_k = first_lines.k_stops(metal, sampling.k_stops, eye.number)
        if sampling.orders > 1:
            later, later_of_k = walked(eye, every, metal, sampling)
            every, of_k = together([every, later]), together([of_k, later_of_k])
        compton, filled = compton_photons(behind, every, arrival_kev[lines:], sampling.seen)
        return torch.cat((k_photons(behind, of_k), compton), dim=1), filled

    parts = torch.arange(grid.voxels).split(VOXELS_AT_ONCE)
    found, filled = zip(*(seen(v) for v in parts), strict=True)
    return torch.cat(found, dim=2), torch.stack(filled).sum(0)
