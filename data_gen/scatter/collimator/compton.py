"""Compton photons that the collimator around one aperture scatters into blocks of pixels.

First interactions per photon emitted, by block, energy class (keV) and voxel; Klein-Nishina with the
incoherent scattering function (``cross_sections.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.projector.sampling import shifted_points
from data_gen.scatter.collimator.detection import Blocks, DetectionPaths
from data_gen.scatter.collimator.interactions import Interactions, drawn_evenly
from data_gen.scatter.differential_cross_sections import compton_kev
from data_gen.scatter.energy_classes import PARTS, edges_of_parts

LEAST = 0.02
"""Transmission assumed through any metal where interactions are selected, since paths differ from block to
block.
"""
ASIDE = 0.3
"""The same for interactions at the wall of the opening, which are seen through it."""
SETS = 8
"""Sets of interactions used for blocks in turn, so that errors of the sum over blocks average out."""


class _Sent(NamedTuple):
    """First interactions per photon emitted, [voxel, interaction]."""

    photons: Tensor
    energy_kev: Tensor
    unhindered: Tensor
    """Photons without attenuation by metal."""


def compton_photons(
    blocks: Blocks, interactions: Interactions, arrival_kev: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """First interactions of Compton photons in blocks per photon from some voxels, [block, class, voxel], and
    their distribution within the classes, over all these voxels, [block, class, part].

    Args:
        blocks: behind the aperture.
        interactions: of photons from these voxels.
        arrival_kev: edges of the classes, [class, 2].
        count: number of interactions per voxel that contribute to a block.
    """
    draw = shifted_points(len(interactions.photons) * count, 4, blocks.geometry.number).float()
    draw = draw.reshape(len(interactions.photons), count, 4)
    found = interactions.photons.new_empty(len(blocks.middles), len(arrival_kev), len(interactions.photons))
    filled = interactions.photons.new_empty(len(blocks.middles), len(arrival_kev), PARTS)
    sets = min(SETS, len(blocks.middles))
    for number, some in enumerate(_selected(blocks, interactions, count, sets)):
        turn = slice(number, None, sets)
        seen = [_detected(blocks, turn, few, at, arrival_kev) for few, (at,) in some.pieces(draw)]
        found[turn] = torch.cat([part for part, _ in seen], dim=2)
        filled[turn] = torch.stack([part for _, part in seen]).sum(dim=0)
    return found, filled


def _detected(
    blocks: Blocks, turn: slice, interactions: Interactions, draw: Tensor, arrival_kev: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`compton_photons` of some blocks, with all given interactions, for uniform numbers
    [voxel, interaction, 4].
    """
    upper = edges_of_parts(arrival_kev)[1:-1].float()
    found, filled = [], []
    for middle in blocks.middles[turn]:
        sent = _sent(blocks, interactions, blocks.paths(interactions, middle, draw))
        part = torch.bucketize(sent.energy_kev, upper, right=True)
        by_part = sent.photons.new_zeros(len(part), len(upper) + 1).scatter_add_(1, part, sent.photons)
        by_class = by_part.unflatten(1, (-1, PARTS)).flip(1)
        found.append(by_class.sum(dim=2).T)
        filled.append(by_class.sum(dim=0))
    return torch.stack(found), torch.stack(filled)


def _selected(blocks: Blocks, interactions: Interactions, count: int, sets: int) -> Iterator[Interactions]:
    """Sets of interactions for each voxel, each set representing all, sampled by their estimated
    contribution.
    """
    importance = torch.cat([_importance(blocks, few) for few, _ in interactions.pieces()])
    every, _ = drawn_evenly(importance, count * sets, blocks.geometry.number)
    weight = importance.sum(dim=1, keepdim=True) / count
    for number in range(sets):
        chosen = every[:, number::sets]
        yield interactions.take(chosen, weight * (interactions.photons / importance).gather(1, chosen))


def _importance(blocks: Blocks, interactions: Interactions) -> Tensor:
    """Estimated contribution of interactions, [voxel, interaction], from a few points on the blocks."""
    importance = torch.full_like(interactions.photons, 1e-30)
    beside = blocks.geometry.beside_opening(*interactions.place.unbind(dim=-1)).relu()
    aside = torch.exp(-blocks.metal.per_mm(interactions.energy_kev) * beside)
    depth = blocks.crystal.drawn(torch.tensor(0.25))
    for end, solid in _guesses(blocks, interactions.place):
        sent = _sent(blocks, interactions, blocks.towards(end, solid, interactions, *depth))
        importance = importance + sent.photons + (LEAST + ASIDE * aside) * sent.unhindered
    return importance


def _guesses(blocks: Blocks, place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Points on the blocks, and roughly the solid angle that each represents, seen from places [..., 3]."""
    low, high = blocks.middles.amin(dim=0), blocks.middles.amax(dim=0)
    area = blocks.pitch**2 * len(blocks.middles)
    for u, v in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        end = low + (high - low) * torch.tensor([u, v, 0.0])
        way = end - place
        yield end, area / 4 * way[..., 2] / (way.square().sum(dim=-1) + area / 16) ** 1.5
    end = torch.maximum(torch.minimum(place, high), low)
    way = end - place
    yield end, way[..., 2].clamp_min(1.0) / way.norm(dim=-1).clamp_min(1.0) ** 3


def _sent(blocks: Blocks, interactions: Interactions, paths: DetectionPaths) -> _Sent:
    """First interactions at the ends of paths."""
    energy = compton_kev(interactions.energy_kev, paths.cosine)
    unhindered = paths.lit * blocks.metal.compton_per_sr(interactions.energy_kev, paths.cosine.acos())
    unhindered = blocks.crystal.stopped(unhindered, energy, paths.inside)
    return _Sent(blocks.out(unhindered, energy, paths), energy, unhindered)
