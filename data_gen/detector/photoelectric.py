"""Photoelectric absorption: the energy left at once, and the K photons of the crystal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector.charge import ChargeTransport
from data_gen.detector.cross_sections import crystal_tables
from data_gen.detector.events import Events
from data_gen.detector.flight import Block, direction
from data_gen.detector.points import spread_points
from data_gen.materials import k_fluorescence

_POINTS = 2048
_REFERENCE_KEV = 100.0
"""Above all K edges: shares of the K lines there say how many points follow each."""


@dataclass(frozen=True)
class KPaths:
    """Sequences of at most two K photons: energies [path] keV (0: none) and probability [line, path] per
    photoelectric absorption, given that the first photon is absorbed before the second is sent out."""

    first_kev: Tensor
    second_kev: Tensor
    probability: Tensor


def k_paths(material: str, energy_kev: Tensor) -> KPaths:
    """No K photon; one; or one whose absorption sends out another, as Te's do in Cd."""
    primary = k_fluorescence(material, energy_kev)
    lines = len(primary.energy_kev)
    again = k_fluorescence(material, primary.energy_kev).photons_per_absorption
    first, second = primary.energy_kev.repeat_interleave(lines), primary.energy_kev.repeat(lines)
    one = primary.photons_per_absorption
    both = (one[..., None] * again).flatten(1)
    nothing = torch.zeros(1, dtype=torch.float64)
    return KPaths(
        torch.cat((nothing, primary.energy_kev, first)),
        torch.cat((nothing, torch.zeros(lines, dtype=torch.float64), second)),
        torch.cat((1 - one.sum(1, keepdim=True), one * (1 - again.sum(1)), both), dim=1),
    )


def photoelectric_events(material: str, energy_kev: Tensor, block: Block, charge: ChargeTransport) -> Events:
    """What is left by photons [line] that are absorbed at first interaction.

    Each point of the quadrature is a depth, a place in the pixel and a path of K photons. A K photon
    escapes from the block, or leaves its energy where it is absorbed; there it may send out a second one.
    """
    tables = crystal_tables(material)
    points = spread_points(_POINTS, 10)
    paths = k_paths(material, energy_kev)
    path, path_weight = _followed(material, paths, points[:, 0])
    first_kev, second_kev = paths.first_kev[path], paths.second_kev[path]
    depth, depth_weight = block.first_depth_mm(points[:, 1], tables.attenuation_per_mm(energy_kev))
    weight = depth_weight * path_weight
    weight = weight / weight.sum(1, keepdim=True)
    # Mirror images are alike: a quarter of the pixel is enough.
    half = charge.pitch_mm / 2
    start = torch.stack((half * points[:, 2], half * points[:, 3], depth), dim=-1)

    def fly(origin: Tensor, photon_kev: Tensor, at: int) -> tuple[Tensor, Tensor, Tensor]:
        attenuation = tables.attenuation_per_mm(photon_kev.clamp_min(1))
        way = direction(2 * points[:, at] - 1, points[:, at + 1])
        flight = block.flight(origin, way, attenuation, points[:, at + 2])
        sent = photon_kev > 0
        return torch.where(sent, flight.escape, 1.0), flight.distant * sent, flight.end

    escape, distant, end = fly(start, first_kev, 4)
    escape_again, distant_again, end_again = fly(end, second_kev, 7)
    one, two, three = (charge.signals(*place.unbind(-1)) for place in (start, end, end_again))
    at_two = (first_kev - second_kev)[:, None] * two
    rest = -first_kev[:, None] * one
    branches = (
        (escape, rest),
        ((1 - escape) * escape_again, rest + at_two),
        ((1 - escape) * (1 - escape_again), rest + at_two + second_kev[:, None] * three),
    )
    used = [chance.detach() > 0 for chance, _ in branches]
    probability = [weight[:, use] * chance[use] for (chance, _), use in zip(branches, used, strict=True)]
    signal = [
        energy_kev[:, None, None] * one[use] + added[use]
        for (_, added), use in zip(branches, used, strict=True)
    ]
    lost = weight @ (distant + (1 - escape) * distant_again)
    return Events(torch.cat(probability, dim=1), torch.cat(signal, dim=1), lost)


def _followed(material: str, paths: KPaths, place: Tensor) -> tuple[Tensor, Tensor]:
    """Path of each point [point] and its weight at each line [line, point], for even places in (0, 1)."""
    usual = k_paths(material, torch.tensor([_REFERENCE_KEV], dtype=torch.float64)).probability[0]
    path = torch.bucketize(place.contiguous(), usual.cumsum(0)).clamp_max(len(usual) - 1)
    return path, paths.probability[:, path] / usual[path]
