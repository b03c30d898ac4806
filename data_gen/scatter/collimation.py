"""Collimated detection of isotropic sources: first interactions in each block per photon from each coarse
voxel.

A dense matrix at a few energies in keV, ray-traced in air and cached on disk. docs/physics.md, section 6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.camera.binning import seeing_every_aperture
from data_gen.core.cache import cache_folder, cached, content_key
from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_probability, k_edges_kev, linear_attenuation_per_mm
from data_gen.projector import RaySampling, mirror_orbits
from data_gen.projector.leak import leak_caster
from data_gen.projector.ray_casting import RayCaster
from data_gen.projector.weights import build_rows

STEP = 1.25
"""Ratio of neighbouring energies of the matrix."""
CODE_VERSION = 6
"""To be raised whenever the numbers in the matrix change, so that cached ones are rebuilt."""
OPAQUE = 9.0
"""Optical thickness of a plate above which penetration far from an aperture is negligible."""
LEAKING = RaySampling(rays=16, plate_steps=4)
"""Rays between a block and each aperture of its panel, where plate and septa leak."""
PARTS = 2
"""Parts of a voxel's edge between which the matrix is averaged."""


def energy_nodes(arrival_kev: Tensor, material: str) -> Tensor:
    """Energies that span all arrival classes in about equal ratios, [node] keV.

    At the K edges of the collimator's material there is a node on either side.
    """
    low, high = float(arrival_kev.mean(dim=-1).min()), float(arrival_kev.max())
    count = max(2, 1 + math.ceil(math.log(high / low) / math.log(STEP)))
    nodes = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64).tolist()
    edges = [edge for edge in k_edges_kev(material) if low < edge < high]
    return torch.tensor(sorted([*nodes, *(edge * side for edge in edges for side in (0.9999, 1.0001))]))


def node_weights(arrival_kev: Tensor, nodes_kev: Tensor, seen: Tensor, camera: Camera) -> Tensor:
    """Interpolation weight of each energy node for the middle energy of a class, [g, k, node].

    Linear in log energy; the detector's interaction probability is exact, and the collimator's total
    transmission is interpolated geometrically between nodes.

    Args:
        arrival_kev: edges of the classes, [g, k, 2].
        nodes_kev: the nodes.
        seen: the matrix at the nodes, first axis node.
        camera: the camera.
    """
    middle = arrival_kev.mean(dim=-1)
    above = torch.searchsorted(nodes_kev, middle).clamp(1, len(nodes_kev) - 1)
    low, high = nodes_kev[above - 1], nodes_kev[above]
    part = ((middle / low).log() / (high / low).log()).clamp(0, 1)[..., None]
    one = torch.eye(len(nodes_kev), dtype=torch.float64)
    share = one[above - 1] * (1 - part) + one[above] * part
    material, thickness = camera.detector_material, camera.detector_thickness_mm
    stopped = [interaction_probability(material, e, thickness) for e in (middle, nodes_kev)]
    total = seen.flatten(1).sum(dim=1, dtype=torch.float64)
    through = torch.exp(share @ (total / stopped[1]).log())
    return share * (stopped[0] * through)[..., None] / total


def collimation(camera: Camera, grid: VoxelGrid, energies_kev: Tensor) -> Tensor:
    """First interactions per photon emitted anywhere in a voxel, in air, [node, block, voxel] float32.

    Cached on disk between runs.
    """
    return torch.stack([_kept(camera, grid, energy) for energy in energies_kev.tolist()])


def _kept(camera: Camera, grid: VoxelGrid, energy_kev: float) -> Tensor:
    """First interactions in each pixel per photon from anywhere in each voxel, [pixel, voxel] float32."""
    caster = _caster(camera, grid, energy_kev)
    numbers = {"scatter": CODE_VERSION, "grid": grid.to_dict(), **caster.numbers}
    tensors = {name: value for name, value in vars(camera).items() if isinstance(value, Tensor)}
    return cached(cache_folder(), content_key(numbers, tensors), lambda: {"seen": _dense(caster, grid)})[
        "seen"
    ]


def is_opaque(camera: Camera, energy_kev: float, least: float = OPAQUE) -> bool:
    """Whether nothing to speak of penetrates the plate far from an aperture: its optical thickness is more
    than ``least``."""
    optical = linear_attenuation_per_mm(camera.collimator_material, energy_kev) * camera.plate_mm
    return float(optical) > least


def _caster(camera: Camera, grid: VoxelGrid, energy_kev: float) -> RayCaster:
    """Rays of all paths through the collimator, or only through apertures where the plate is opaque."""
    if is_opaque(camera, energy_kev):
        through_apertures = RayCaster(camera, energy_kev, RaySampling())
        through_apertures.choose_rays(_parts(grid))
        return through_apertures
    return leak_caster(grid, sharp_kev=0.0)(seeing_every_aperture(camera), energy_kev, LEAKING)


def _dense(caster: RayCaster, grid: VoxelGrid) -> Tensor:
    """The matrix of one caster; apertures that mirror each other are traced once."""
    camera, orbits = caster.camera, mirror_orbits(caster.camera)
    rows = _dense_rows(caster, camera.pairs[orbits.first_pair], grid).unflatten(1, grid.shape)
    pixel = camera.pairs[:, 0]
    dense = torch.zeros(camera.pixel_count, *grid.shape)
    for number, axes in enumerate(orbits.mirrors):
        pairs = (orbits.mirror == number).nonzero()[:, 0]
        dense.index_add_(0, pixel[pairs], rows.flip(axes)[orbits.row[pairs]])
    return dense.flatten(1)


def _parts(grid: VoxelGrid) -> VoxelGrid:
    """The grid of the parts that a voxel is averaged over."""
    return VoxelGrid([PARTS * n for n in grid.shape], [s / PARTS for s in grid.spacing_mm])


def _dense_rows(caster: RayCaster, pairs: Tensor, grid: VoxelGrid) -> Tensor:
    """First interactions per photon from anywhere in each voxel, by pair, [pair, voxel] float32."""
    fine = _parts(grid)
    part_of = torch.arange(grid.voxels).reshape(grid.shape)
    for axis in range(3):
        part_of = part_of.repeat_interleave(PARTS, dim=axis)
    rows = build_rows(caster, pairs, fine, 0.0, torch.float32)
    pair = torch.arange(len(pairs)).repeat_interleave(rows.start.diff())
    dense = torch.zeros(len(pairs) * grid.voxels)
    dense.index_add_(0, pair * grid.voxels + part_of.flatten()[rows.column], rows.value / PARTS**3)
    return dense.reshape(-1, grid.voxels)
