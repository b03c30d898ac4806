"""Photoelectric absorption in the crystal: the local deposit, and the K X-rays of the crystal's elements.

Input are photon energies in keV; output are energy deposits and pixel signals with their probabilities, by
quasi-Monte Carlo over depth, place and K X-rays. Source: yields and rates of xraylib
(``data_gen.materials``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.detector.charge import ChargeTransport, Events
from data_gen.detector.cross_sections import CrystalTables, crystal_tables
from data_gen.detector.flight import Block, Flight, direction
from data_gen.materials import k_edges_kev, k_fluorescence


def spread_points(count: int, dimensions: int) -> Tensor:
    """A deterministic low-discrepancy set of points in the open unit cube, [count, dimensions].

    The first coordinate is even and ascending; the others are Sobol's sequence, so that any run of points
    covers the cube evenly. A ``count`` that is a power of two is best.
    """
    even = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    sobol = torch.quasirandom.SobolEngine(dimensions - 1).draw(count, dtype=torch.float64)
    return torch.cat((even, (sobol + 0.5 / count) % 1.0), dim=1)


_POINTS = 4096
"""Quasi-Monte Carlo points for each photon energy; chosen, no source."""
_REFERENCE_KEV = 100.0
"""Above all K edges; the yields of the K lines there determine how many points follow each."""


@dataclass(frozen=True)
class KPaths:
    """Cascades of at most two K X-rays: energies [path] keV (0: none) and probability [line, path] per
    photoelectric absorption, given that the first X-ray is absorbed before the second is emitted.
    """

    first_kev: Tensor
    second_kev: Tensor
    probability: Tensor


def k_paths(material: str, energy_kev: Tensor) -> KPaths:
    """Cascades without K X-ray, with one, or with one whose absorption emits another, as Te's do in Cd."""
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


def photoelectric_events(
    material: str, energy_kev: Tensor, block: Block, charge: ChargeTransport
) -> tuple[Events, Events]:
    """Outcomes of photons [line] that are absorbed at first interaction: a local deposit, or several
    deposits.

    Each point of the quadrature is a depth, a place in the pixel and a cascade of K X-rays. A K X-ray
    escapes from the block, or deposits its energy where it is absorbed; there it may cause a second one.
    """
    tables = crystal_tables(material)
    points = spread_points(_POINTS, 10)
    paths = k_paths(material, energy_kev)
    path, weight = _followed(material, paths, points[:, 0])
    first_kev, second_kev = paths.first_kev[path], paths.second_kev[path]
    start = block.first(points[:, 1:4], tables.attenuation_per_mm(energy_kev))

    once = _sent(block, tables, start, first_kev, points[:, 4:7])
    again = _sent(block, tables, once.end, second_kev, points[:, 7:10])
    electron_kev = photoelectron_kev(material, energy_kev)[:, None]
    left_kev = energy_kev[:, None] - first_kev
    soft_kev = first_kev - second_kev
    has_one, has_two = first_kev > 0, second_kev > 0
    # Escape is averaged over directions; photons that stay follow one of them, scaled to the remainder.
    mean = block.isotropic_escape(start, tables.stopping_per_mm(first_kev), points[:, 4:6])
    escape = torch.where(has_one, mean, 1.0)
    stays = _making_up(weight * has_one * (1 - once.escape), weight * (1 - escape))
    mean = block.isotropic_escape(once.end, tables.stopping_per_mm(second_kev), points[:, 7:9])
    alone_again = stays * torch.where(has_two, mean, 1.0)
    stays_again = _making_up(stays * has_two * (1 - again.escape), stays - alone_again)
    alone = replace(
        Events.at_points(
            weight * escape, left_kev[..., None] * charge.signals(start, 3, left_kev, electron_kev)
        ),
        distant=torch.cat((weight * has_one * once.distant, stays * has_two * again.distant), dim=1),
    )
    at_one = left_kev[..., None] * charge.signals(start, 5, left_kev, electron_kev)
    two = at_one + soft_kev[:, None] * charge.signals(once.end, 5, soft_kev, soft_kev)
    last = charge.signals(again.end, 5, second_kev, second_kev)
    three = (two + second_kev[:, None] * last)[:, has_two]
    chance = torch.cat((alone_again[:, has_one], stays_again[:, has_two]), dim=1)
    return alone, Events.at_points(chance, torch.cat((two[:, has_one], three), dim=1))


def photoelectron_kev(material: str, energy_kev: Tensor) -> Tensor:
    """Kinetic energy of the electron that absorption frees, of the shape of ``energy_kev``.

    It comes from the highest K shell that the photon can empty; other electrons that follow are soft.
    """
    bound = torch.zeros_like(energy_kev)
    for edge in k_edges_kev(material, 0.0):
        bound = torch.where(energy_kev > edge, edge, bound)
    return energy_kev - bound


def _making_up(sampled: Tensor, exact: Tensor) -> Tensor:
    """``sampled`` [line, point], scaled to the sum over points of ``exact``."""
    return sampled * (exact.sum(1) / sampled.sum(1).clamp_min(1e-300))[:, None]


def _sent(block: Block, tables: CrystalTables, origin: Tensor, photon_kev: Tensor, places: Tensor) -> Flight:
    """Isotropic photons [point] of some energy, for evenly spread ``places`` [point, 3] in the unit cube."""
    attenuation = tables.stopping_per_mm(photon_kev)
    way = direction(2 * places[:, 0] - 1, places[:, 1])
    return block.flight(origin, way, attenuation, places[:, 2])


def k_escape(
    material: str, energy_kev: Tensor, end: Tensor, block: Block, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Energy [point] in keV of the K X-ray after absorption at ``end`` [line, point, 3], and the probability
    [line, point] that it is emitted and escapes from the block.

    ``places`` [point, 3], evenly spread in the unit cube, choose the K line and its direction. X-rays that
    follow another one are taken to start where that one did. Probabilities are those at 100 keV, where the
    elements' fractions of absorption hardly change any more.
    """
    reference = torch.tensor([_REFERENCE_KEV], dtype=torch.float64)
    fluorescence = k_fluorescence(material, reference)
    if not len(fluorescence.energy_kev):
        return torch.zeros(len(places), dtype=torch.float64), torch.zeros_like(energy_kev)
    first = fluorescence.photons_per_absorption[0]
    usual = first + first @ k_fluorescence(material, fluorescence.energy_kev).photons_per_absorption
    chosen = torch.bucketize(places[:, 0] * usual.sum(), usual.cumsum(0)).clamp_max(len(usual) - 1)
    k_kev = fluorescence.energy_kev[chosen]
    way = direction(2 * places[:, 1] - 1, places[:, 2])
    escape = block.flight(end, way, crystal_tables(material).stopping_per_mm(k_kev), places[:, 0]).escape
    return k_kev, usual.sum() * escape * (energy_kev > max(k_edges_kev(material, 0.0)))


def _followed(material: str, paths: KPaths, place: Tensor) -> tuple[Tensor, Tensor]:
    """Cascade of each point [point] and its weight at each line [line, point], for even quantiles
    in (0, 1).
    """
    usual = k_paths(material, torch.tensor([_REFERENCE_KEV], dtype=torch.float64)).probability[0]
    path = torch.bucketize(place.contiguous(), usual.cumsum(0)).clamp_max(len(usual) - 1)
    weight = paths.probability[:, path] / usual[path]
    return path, weight / weight.sum(1, keepdim=True)
