"""K X-rays that the collimator around one aperture emits into blocks of pixels.

First interactions in the detector crystal per photon emitted, by block, K line and voxel; isotropic emission
with the yields and rates of xraylib (``cross_sections.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from data_gen.scatter.collimator.cross_sections import at_energy
from data_gen.scatter.collimator.detection import Blocks, DetectionPaths, solid_angle
from data_gen.scatter.collimator.interactions import Interactions

WAYS = 4
"""Detection paths per interaction: the contributions of many interactions, each by few paths."""


def k_photons(blocks: Blocks, interactions: Interactions) -> Tensor:
    """First interactions of K X-rays in blocks per photon from some voxels, [block, line class, voxel].

    Paths from an interaction are alternately isotropic in the forward half space, and to blocks sampled by
    roughly the solid angle that the aperture sees them under; each is weighted by the mean of both densities.

    Args:
        blocks: behind the aperture.
        interactions: of photons from these voxels.
    """
    generator = torch.Generator().manual_seed(blocks.geometry.number)
    draws = [torch.rand(*interactions.photons.shape, 5, generator=generator) for _ in range(WAYS)]
    found = [_detected(blocks, few, draw) for few, draw in interactions.pieces(*draws)]
    return torch.cat(found, dim=1).permute(2, 0, 1)


def _detected(blocks: Blocks, interactions: Interactions, draws: Sequence[Tensor]) -> Tensor:
    """:func:`k_photons` for uniform numbers [voxel, interaction, 5] of each path, [line class,
    voxel, block].
    """
    chance = _chances(blocks)
    total = interactions.photons.new_zeros(len(blocks.metal.k_kev), len(interactions.photons), len(chance))
    for number, draw in enumerate(draws):
        depth, stands_for = blocks.crystal.drawn(draw[..., 4])
        if number % 2:
            level = draw[..., 3].contiguous() * chance.sum()
            block = torch.searchsorted(chance.cumsum(0), level).clamp_max(len(chance) - 1)
            end, angle = blocks.place_in(blocks.middles[block], interactions.place, depth, draw[..., :3])
        else:
            ahead = _ahead(interactions.place, blocks.geometry.detector + depth, draw)
            block = blocks.at(ahead)
            middle = blocks.middles[block] + torch.nn.functional.pad(depth[..., None], (2, 0))
            end = torch.where(block[..., None] < 0, middle, ahead)
            angle = solid_angle(middle - interactions.place, blocks.pitch)
        drawn = (chance[block] / angle.clamp_min(1e-9) + 1 / (2 * math.pi)) * WAYS / 2
        paths = blocks.towards(end, torch.where(block < 0, 0.0, 1 / drawn), interactions, depth, stands_for)
        for line, seen in enumerate(_seen(blocks, interactions, paths)):
            total[line].scatter_add_(1, block.clamp_min(0), seen)
    return total


def _seen(blocks: Blocks, interactions: Interactions, paths: DetectionPaths) -> Iterator[Tensor]:
    """First interactions at the ends of paths, [voxel, interaction] for each class of lines."""
    metal = blocks.metal
    for energy, photons in zip(metal.k_kev.float(), metal.k_photons, strict=True):
        sent = paths.photons_sr * at_energy(photons, interactions.energy_kev) / (4 * math.pi)
        yield blocks.crystal.stopped(blocks.out(sent, energy, paths), energy, paths.inside)


def _chances(blocks: Blocks) -> Tensor:
    """Probability of each block to be chosen, summing to 1, [block]."""
    way = blocks.middles - torch.tensor([*blocks.geometry.centre.tolist(), blocks.geometry.half_plate])
    solid = way[:, 2] / (way.square().sum(dim=1) + blocks.pitch**2) ** 1.5
    return (solid / solid.sum() + 1 / len(solid)) / 2


def _ahead(place: Tensor, height: Tensor, draw: Tensor) -> Tensor:
    """Points at a height h, in isotropic forward directions from places [..., 3]."""
    cosine = draw[..., 0].clamp_min(1e-3)
    away = (height - place[..., 2]) * (1 - cosine.square()).sqrt() / cosine
    turn = 2 * math.pi * draw[..., 1]
    u, v = place[..., 0] + away * turn.cos(), place[..., 1] + away * turn.sin()
    return torch.stack((u, v, height), dim=-1)
