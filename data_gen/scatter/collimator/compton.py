"""Compton photons that the collimator around one aperture scatters into blocks of pixels.

From interactions in the metal (mm; photons per photon emitted; any order of scatter): expected first
interactions in the detector crystal per photon emitted, [block, energy class (keV), voxel], without
attenuation by the object. Klein-Nishina with the incoherent scattering function of xraylib
(``cross_sections.py``); scattered energies are those of a free electron at rest, without Doppler broadening;
docs/physics.md, section 6.

In this file "interactions" are in the metal, "crystal interactions" are first interactions in the detector.
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

TRANSMISSION_FLOOR = 0.02
"""Floor of the transmission through metal, in the importance only, since paths differ from block to block;
the estimate stays unbiased. Chosen, no source.
"""
WALL_FLOOR = 0.3
"""Floor added at the wall of the opening, decaying with depth in the metal, since photons escape through the
opening. In the importance only; chosen, no source.
"""
SETS = 8
"""Sets of interactions, each an unbiased sample of all. Blocks use them in turn, so that errors of the sum
over blocks average out; their number is chosen, no source.
"""


class _CrystalInteractions(NamedTuple):
    """Expected first interactions in the crystal by each interaction in the metal, [voxel, interaction]."""

    photons: Tensor
    """Crystal interactions per photon emitted."""
    energy_kev: Tensor
    """Energy after the Compton scatter in the metal."""
    unattenuated: Tensor
    """``photons`` without attenuation by the metal between interaction and crystal."""


def compton_photons(
    blocks: Blocks, interactions: Interactions, arrival_kev: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Crystal interactions by Compton photons per photon emitted from some voxels, [block, class, voxel], and
    their distribution within the classes, summed over these voxels, [block, class, part].

    Args:
        blocks: blocks of pixels behind the aperture.
        interactions: interactions in the metal of photons from these voxels, before leaving the collimator.
        arrival_kev: edges of the classes of arrival energy, [class, 2] keV.
        count: number of interactions per voxel that contribute to a block.
    """
    draw = shifted_points(len(interactions.photons) * count, 4, blocks.geometry.number).float()
    draw = draw.reshape(len(interactions.photons), count, 4)
    found = interactions.photons.new_empty(len(blocks.middles), len(arrival_kev), len(interactions.photons))
    by_part = interactions.photons.new_empty(len(blocks.middles), len(arrival_kev), PARTS)
    sets = min(SETS, len(blocks.middles))
    for number, sampled in enumerate(_sampled_sets(blocks, interactions, count, sets)):
        of_set = slice(number, None, sets)
        pieces = [_detected(blocks, of_set, piece, at, arrival_kev) for piece, (at,) in sampled.pieces(draw)]
        found[of_set] = torch.cat([by_voxel for by_voxel, _ in pieces], dim=2)
        by_part[of_set] = torch.stack([parts for _, parts in pieces]).sum(dim=0)
    return found, by_part


def _detected(
    blocks: Blocks, of_set: slice, interactions: Interactions, draw: Tensor, arrival_kev: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`compton_photons` of the blocks of one set, with all given interactions, for uniform numbers
    [voxel, interaction, 4].
    """
    upper = edges_of_parts(arrival_kev)[1:-1].float()
    found, by_part = [], []
    for middle in blocks.middles[of_set]:
        crystal = _crystal_interactions(blocks, interactions, blocks.paths(interactions, middle, draw))
        part = torch.bucketize(crystal.energy_kev, upper, right=True)
        rising = crystal.photons.new_zeros(len(part), len(upper) + 1).scatter_add_(1, part, crystal.photons)
        by_class = rising.unflatten(1, (-1, PARTS)).flip(1)
        found.append(by_class.sum(dim=2).T)
        by_part.append(by_class.sum(dim=0))
    return torch.stack(found), torch.stack(by_part)


def _sampled_sets(
    blocks: Blocks, interactions: Interactions, count: int, sets: int
) -> Iterator[Interactions]:
    """Sets of interactions of each voxel, each an unbiased sample of all interactions in the metal, drawn by
    their importance.
    """
    importance = torch.cat([_importance(blocks, piece) for piece, _ in interactions.pieces()])
    every, _ = drawn_evenly(importance, count * sets, blocks.geometry.number)
    weight = importance.sum(dim=1, keepdim=True) / count
    for number in range(sets):
        chosen = every[:, number::sets]
        yield interactions.take(chosen, weight * (interactions.photons / importance).gather(1, chosen))


def _importance(blocks: Blocks, interactions: Interactions) -> Tensor:
    """Crystal interactions that each interaction leads to, [voxel, interaction], estimated at a few points of
    the blocks and raised by the floors.
    """
    importance = torch.full_like(interactions.photons, 1e-30)
    beside = blocks.geometry.beside_opening(*interactions.place.unbind(dim=-1)).relu()
    wall_transmission = torch.exp(-blocks.metal.per_mm(interactions.energy_kev) * beside)
    depth = blocks.crystal.drawn(torch.tensor(0.25))
    for end, solid in _guesses(blocks, interactions.place):
        crystal = _crystal_interactions(
            blocks, interactions, blocks.towards(end, solid, interactions, *depth)
        )
        floor = TRANSMISSION_FLOOR + WALL_FLOOR * wall_transmission
        importance = importance + crystal.photons + floor * crystal.unattenuated
    return importance


def _guesses(blocks: Blocks, place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Points on the blocks, and roughly the solid angle sr that each represents, seen from places [..., 3]
    mm.
    """
    low, high = blocks.middles.amin(dim=0), blocks.middles.amax(dim=0)
    area = blocks.pitch**2 * len(blocks.middles)
    for u, v in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        end = low + (high - low) * torch.tensor([u, v, 0.0])
        path = end - place
        yield end, area / 4 * path[..., 2] / (path.square().sum(dim=-1) + area / 16) ** 1.5
    end = torch.maximum(torch.minimum(place, high), low)
    path = end - place
    yield end, path[..., 2].clamp_min(1.0) / path.norm(dim=-1).clamp_min(1.0) ** 3


def _crystal_interactions(
    blocks: Blocks, interactions: Interactions, paths: DetectionPaths
) -> _CrystalInteractions:
    """Crystal interactions at the ends of paths from interactions in the metal."""
    energy = compton_kev(interactions.energy_kev, paths.cosine)
    scattered = paths.photons_sr * blocks.metal.compton_per_sr(interactions.energy_kev, paths.cosine.acos())
    unattenuated = blocks.crystal.stopped(scattered, energy, paths.inside)
    return _CrystalInteractions(blocks.out(unattenuated, energy, paths), energy, unattenuated)
