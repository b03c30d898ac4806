"""Compton photons on their way from stop to stop through metal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_gen.scatter.metal import Eye, metal_share
from data_gen.scatter.metal_physics import Metal, at_energy
from data_gen.scatter.metal_stops import Stops, drawn_depth, drawn_evenly, placed, together
from data_gen.scatter.turning import compton_kev

_NEVER = 1e-12
"""Photons so few that they count for none; keeps what is divided by above 0."""
_SPAN = 2.0
"""Photons that run along the plate are followed so many times its distance to the detector."""


def walked(eye: Eye, first: Stops, metal: Metal, orders: int, walks: int, steps: int) -> Stops:
    """Stops of photons that Compton scattered in metal before, from the second to order ``orders``.

    Coherent scatter counts as none. Photons that leave the plate towards the object are lost.

    Args:
        eye: the aperture around which they are.
        first: where photons stop first.
        metal: of the collimator.
        orders: the highest order of stop.
        walks: photons that are followed from each voxel.
        steps: on the way ahead of a stop.
    """
    sent = first.photons * at_energy(metal.compton, first.energy_kev)
    importance = sent.sqrt() + _NEVER  # first stops lie where photons get out: not all weight to the rest
    chosen, _ = drawn_evenly(importance, walks, eye.number)
    each = (sent / importance).gather(1, chosen) * importance.sum(dim=1, keepdim=True) / walks
    moving = first.take(chosen, each / at_energy(metal.compton, first.energy_kev).gather(1, chosen))
    generator = torch.Generator().manual_seed(eye.number)
    parts = []
    for _ in range(orders - 1):
        draw = torch.rand(*moving.photons.shape, 3, generator=generator)
        moving = _next(eye, moving, metal, draw, steps)
        parts.append(moving)
    return together(parts)


def _next(eye: Eye, stops: Stops, metal: Metal, draw: Tensor, steps: int) -> Stops:
    """The next stop of Compton photons from each stop, by even draws [voxel, stop, 3]."""
    angle = metal.turn(stops.energy_kev, draw[..., 0])
    heading = turned(stops.heading, angle, 2 * math.pi * draw[..., 1])
    energy = compton_kev(stops.energy_kev, angle.cos())
    share = torch.linspace(0, 1, steps + 1).square()
    ahead = _ahead(eye, stops.place, heading)
    depth = eye.depth(
        stops.place[..., None, :] + (ahead[..., None] * share)[..., None] * heading[..., None, :]
    )
    part = metal_share(depth)
    length = part * share.diff() * ahead[..., None]
    outward = torch.where(heading[..., 2] > 0, 0.5, 0.0)
    mu_out = float(metal.per_mm(metal.k_kev).amax()) if len(metal.k_kev) else 1.0
    deep, stopping = drawn_depth(length.sum(dim=-1), metal.per_mm(energy), mu_out, outward, draw[..., 2])
    run = length.cumsum(dim=-1)
    number = torch.searchsorted(run, deep[..., None]).clamp_max(steps - 1)
    own = length.gather(-1, number)[..., 0]
    into = (deep - run.gather(-1, number)[..., 0] + own) / own.clamp_min(_NEVER)
    ends = torch.stack((share[number[..., 0]], share[number[..., 0] + 1]), dim=-1)
    enters = depth.gather(-1, number)[..., 0] <= 0
    where = placed(ends, ~enters, part.gather(-1, number)[..., 0], into.clamp(0, 1))
    photons = stops.photons * at_energy(metal.compton, stops.energy_kev) * stopping
    return Stops(stops.place + (where * ahead)[..., None] * heading, heading, photons, energy)


def _ahead(eye: Eye, place: Tensor, heading: Tensor) -> Tensor:
    """Distance to the plate's front or to the detector, whichever is ahead."""
    border = torch.where(heading[..., 2] < 0, -eye.half_plate, eye.detector)
    rise = torch.where(heading[..., 2].abs() < 1e-6, 1e-6, heading[..., 2])
    out: Tensor = (border - place[..., 2]) / rise
    return out.abs().clamp(1e-3, _SPAN * eye.detector)


def turned(heading: Tensor, angle: Tensor, azimuth: Tensor) -> Tensor:
    """Unit vectors [..., 3] turned by an angle, to any side."""
    helper = torch.zeros_like(heading).scatter_(-1, heading.abs().argmin(dim=-1, keepdim=True), 1.0)
    first = torch.nn.functional.normalize(torch.linalg.cross(heading, helper), dim=-1)
    second = torch.linalg.cross(heading, first)
    side = azimuth.cos()[..., None] * first + azimuth.sin()[..., None] * second
    return torch.nn.functional.normalize(
        angle.cos()[..., None] * heading + angle.sin()[..., None] * side, dim=-1
    )
