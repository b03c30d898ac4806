"""Multiple Compton scatter in the collimator: photons followed from interaction to interaction.

Klein-Nishina with the incoherent scattering function (``cross_sections.py``); energies in keV, lengths in mm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_gen.scatter.collimator.cross_sections import Metal, at_energy
from data_gen.scatter.collimator.geometry import ApertureGeometry
from data_gen.scatter.collimator.interactions import (
    CollimatorPaths,
    Interactions,
    concatenated,
    drawn_depth,
    drawn_evenly,
)
from data_gen.scatter.collimator.sampling import CollimatorSampling
from data_gen.scatter.differential_cross_sections import compton_kev

_NEVER = 1e-12
"""A negligible number of photons, which keeps divisors above 0."""
_SPAN = 2.0
"""Photons along the plate are followed up to this multiple of its distance to the detector."""


def multiple_scatter(
    geometry: ApertureGeometry, first: Interactions, metal: Metal, sampling: CollimatorSampling
) -> tuple[Interactions, Interactions]:
    """Interactions of photons that Compton scattered in metal before, from the second to the highest order: a
    sample of all, and a sample of those whose K X-rays may escape.

    Coherent scatter is neglected. Photons that leave the plate towards the object are lost.

    Args:
        geometry: the collimator around the aperture.
        first: first interactions.
        metal: of the collimator.
        sampling: resolution of the computation.
    """
    sent = first.photons * at_energy(metal.compton, first.energy_kev)
    importance = sent.sqrt() + _NEVER  # first stops lie where photons get out: not all weight to the rest
    chosen, _ = drawn_evenly(importance, sampling.walks, geometry.number)
    each = (sent / importance).gather(1, chosen) * importance.sum(dim=1, keepdim=True) / sampling.walks
    moving = first.take(chosen, each / at_energy(metal.compton, first.energy_kev).gather(1, chosen))
    generator = torch.Generator().manual_seed(geometry.number)
    every, of_k = [], []
    for order in range(1, sampling.orders):
        draw = torch.rand(*moving.photons.shape, 3, generator=generator)
        lines = _scattered_paths(geometry, moving, metal, draw, sampling.walk_steps)
        moving = _next_interactions(lines, metal, draw[..., 2])
        every.append(moving)
        share = float(lines.photons.sum() / first.photons.sum().clamp_min(_NEVER))
        of_k.append(lines.k_interactions(metal, math.ceil(share * sampling.k_stops), geometry.number + order))
    return concatenated(every), concatenated(of_k)


def _scattered_paths(
    geometry: ApertureGeometry, interactions: Interactions, metal: Metal, draw: Tensor, steps: int
) -> CollimatorPaths:
    """Paths of the Compton photons from each interaction, by uniform numbers [voxel, interaction, 2
    or more].
    """
    angle = metal.turn(interactions.energy_kev, draw[..., 0])
    heading = turned(interactions.heading, angle, 2 * math.pi * draw[..., 1])
    share = torch.linspace(0, 1, steps + 1).square()
    way = _ahead(geometry, interactions.place, heading)[..., None] * heading
    photons = interactions.photons * at_energy(metal.compton, interactions.energy_kev)
    return CollimatorPaths.of(
        geometry, interactions.place, way, share, photons, compton_kev(interactions.energy_kev, angle.cos())
    )


def _next_interactions(lines: CollimatorPaths, metal: Metal, draw: Tensor) -> Interactions:
    """One interaction in the metal on each path, drawn by uniform numbers [voxel, path]."""
    run = metal.per_mm(lines.energy_kev)[..., None] * lines.length
    along = run.cumsum(dim=-1)
    deep = drawn_depth(along[..., -1], draw)[..., None]
    step = torch.searchsorted(along, deep).clamp_max(run.shape[-1] - 1)
    own = run.gather(-1, step)
    into = (deep - along.gather(-1, step) + own) / own.clamp_min(_NEVER)
    number = torch.arange(run.shape[1]) * run.shape[-1] + step[..., 0]
    photons = lines.photons * -torch.expm1(-along[..., -1])
    return lines.interactions(number, into[..., 0].clamp(0, 1), photons)


def _ahead(geometry: ApertureGeometry, place: Tensor, heading: Tensor) -> Tensor:
    """Distance to the plate's front or to the detector, whichever is ahead."""
    border = torch.where(heading[..., 2] < 0, -geometry.half_plate, geometry.detector)
    rise = torch.where(heading[..., 2].abs() < 1e-6, 1e-6, heading[..., 2])
    out: Tensor = (border - place[..., 2]) / rise
    return out.abs().clamp(1e-3, _SPAN * geometry.detector)


def turned(heading: Tensor, angle: Tensor, azimuth: Tensor) -> Tensor:
    """Unit vectors [..., 3] turned by an angle, to any side."""
    helper = torch.zeros_like(heading).scatter_(-1, heading.abs().argmin(dim=-1, keepdim=True), 1.0)
    first = torch.nn.functional.normalize(torch.linalg.cross(heading, helper), dim=-1)
    second = torch.linalg.cross(heading, first)
    side = azimuth.cos()[..., None] * first + azimuth.sin()[..., None] * second
    return torch.nn.functional.normalize(
        angle.cos()[..., None] * heading + angle.sin()[..., None] * side, dim=-1
    )
