"""Response matrices of collimator scatter: first interactions in the crystal, in each block of pixels, per
photon from each voxel; cached on disk. docs/physics.md, section 6.
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.camera.binning import seeing_every_aperture
from data_gen.core.cache import cache_folder, cached, content_key
from data_gen.core.grid import VoxelGrid
from data_gen.projector import MirrorOrbits, mirror_orbits
from data_gen.scatter.collimation import is_opaque
from data_gen.scatter.collimator.compton import compton_photons
from data_gen.scatter.collimator.cross_sections import Metal
from data_gen.scatter.collimator.detection import Blocks
from data_gen.scatter.collimator.first_interactions import CollimatorRays
from data_gen.scatter.collimator.fluorescence import k_photons
from data_gen.scatter.collimator.geometry import ApertureGeometry
from data_gen.scatter.collimator.interactions import concatenated
from data_gen.scatter.collimator.multiple_scatter import multiple_scatter
from data_gen.scatter.collimator.sampling import CollimatorSampling

VOXELS_AT_ONCE = 128
"""Voxels computed together, which bounds the memory."""


def aperture_matrix(
    camera: Camera,
    aperture: int,
    blocks: Tensor,
    grid: VoxelGrid,
    energy_kev: float,
    arrival_kev: Tensor,
    sampling: CollimatorSampling,
) -> tuple[Tensor, Tensor]:
    """First interactions in each block per photon from each voxel, [block, k, voxel] float32, and their
    distribution within the Compton classes over all voxels, [block, Compton class, part].

    Args:
        camera: the camera with binned pixels.
        aperture: index of the aperture.
        blocks: the pixels behind it, [block].
        grid: coarse voxels.
        energy_kev: energy of emission.
        arrival_kev: edges of the classes, K lines first, [k, 2].
        sampling: resolution of the computation.
    """
    geometry, metal = ApertureGeometry.of(camera, aperture), Metal.of(camera.collimator_material)
    rays = CollimatorRays(camera, geometry, grid, sampling)
    behind = Blocks(camera, geometry, blocks, metal, sampling.out_steps)

    lines = len(metal.k_kev)

    def seen(voxels: Tensor) -> tuple[Tensor, Tensor]:
        first_lines = rays.lines(voxels, metal, energy_kev)
        every = rays.first_interactions(first_lines, metal)
        of_k = first_lines.k_interactions(metal, sampling.k_stops, geometry.number)
        if sampling.orders > 1:
            later, later_of_k = multiple_scatter(geometry, every, metal, sampling)
            every, of_k = concatenated([every, later]), concatenated([of_k, later_of_k])
        compton, filled = compton_photons(behind, every, arrival_kev[lines:], sampling.seen)
        return torch.cat((k_photons(behind, of_k), compton), dim=1), filled

    parts = torch.arange(grid.voxels).split(VOXELS_AT_ONCE)
    found, filled = zip(*(seen(v) for v in parts), strict=True)
    return torch.cat(found, dim=2), torch.stack(filled).sum(0)


CODE_VERSION = 14
"""To be raised whenever the numbers in the matrix change, so that cached ones are rebuilt."""
SEPTA_STOP = 12.5
"""Optical thickness of a plate above which septa are opaque too, so blocks behind other apertures are left
out.
"""


def camera_matrix(
    camera: Camera, grid: VoxelGrid, energy_kev: float, arrival_kev: Tensor, sampling: CollimatorSampling
) -> tuple[Tensor, Tensor]:
    """First interactions per photon emitted, [block, k, voxel] float32, and their distribution within the
    Compton classes over all voxels and blocks, [Compton class, part]; cached on disk between runs.

    Args:
        camera: the camera with binned pixels.
        grid: coarse voxels.
        energy_kev: energy of emission.
        arrival_kev: edges of the classes, K lines first, [k, 2].
        sampling: resolution, for a camera with a single aperture.
    """
    if not is_opaque(camera, energy_kev, SEPTA_STOP):
        camera = seeing_every_aperture(camera)
    sampling = sampling.shared_by(camera.aperture_count)
    numbers = {
        "metal": CODE_VERSION,
        "grid": grid.to_dict(),
        "energy_kev": energy_kev,
        "sampling": asdict(sampling),
        "collimator": camera.spec.collimator.model_dump(mode="json"),
        "panels": camera.spec.panels.model_dump(mode="json"),
        "detector": camera.spec.detector.model_dump(mode="json", exclude={"response"}),
        "materials": camera.materials,
    }
    tensors = {name: value for name, value in vars(camera).items() if isinstance(value, Tensor)}
    orbits = mirror_orbits(camera)

    def build() -> dict[str, Tensor]:
        rows, filled = _rows(camera, grid, orbits, energy_kev, arrival_kev, sampling)
        pairs = torch.bincount(orbits.row, minlength=len(rows)).to(filled.dtype)
        return {"rows": rows, "filled": torch.einsum("r,rkp->kp", pairs, filled)}

    kept = cached(cache_folder(), content_key(numbers, tensors), build)
    rows = kept["rows"].unflatten(2, grid.shape)
    whole = torch.zeros(camera.pixel_count, *rows.shape[1:])
    for number, axes in enumerate(orbits.mirrors):
        pairs = (orbits.mirror == number).nonzero()[:, 0]
        whole.index_add_(0, camera.pairs[pairs, 0], rows.flip(axes)[orbits.row[pairs]])
    return whole.flatten(2), kept["filled"]


def _rows(
    camera: Camera,
    grid: VoxelGrid,
    orbits: MirrorOrbits,
    energy_kev: float,
    arrival_kev: Tensor,
    sampling: CollimatorSampling,
) -> tuple[Tensor, Tensor]:
    """Matrix rows of apertures that are no mirror images of others, by pair: [row, k, voxel] and, for the
    filling of Compton classes, [row, Compton class, part].
    """
    pixel = camera.pairs[orbits.first_pair, 0]
    parts = [
        aperture_matrix(
            camera, aperture, pixel[orbits.orbit == orbit], grid, energy_kev, arrival_kev, sampling
        )
        for orbit, aperture in enumerate(orbits.aperture[:, 0].tolist())
    ]
    seen, filled = zip(*parts, strict=True)
    return torch.cat(seen), torch.cat(filled)
