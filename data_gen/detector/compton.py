"""Compton scatter in the crystal: the recoil electron, and what the scattered photon does next.

Input are photon energies in keV; output are energy deposits and pixel signals with their probabilities.
Source: Klein-Nishina formula times the incoherent scattering function (xraylib), electrons at rest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.detector.charge import ChargeTransport, Events
from data_gen.detector.cross_sections import ANGSTROM_KEV, crystal_tables
from data_gen.detector.flight import Block, direction
from data_gen.detector.photoelectric import k_escape, photoelectron_kev, spread_points

ELECTRON_KEV = 510.998950
"""Rest energy of the electron (CODATA)."""
_POINTS = 4096
"""Quasi-Monte Carlo points for each photon energy; chosen, no source."""
_BLOCKS, _COPIES = 16, 8
"""Electron energies are spread by up to 1/16 of the Compton edge, in 8 copies each; chosen, no source."""
_SKIP = 2
"""Every second point follows photons that stay in the block of pixels, as these are few."""


def compton_scatter(material: str, energy_kev: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compton scatter of photons [line] at electron energies evenly spaced up to the Compton edge.

    Klein-Nishina times the incoherent scattering function; electrons at rest, so no Doppler broadening.

    Returns:
        Scattered photon energy in keV, cosine of its angle, and fraction of scatters, [line, nodes] each.
    """
    energy = energy_kev[:, None]
    scattered, cosine, free = _klein_nishina(energy, (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes)
    transfer = energy * ((1 - cosine) / 2).sqrt() / ANGSTROM_KEV
    density = free * crystal_tables(material).scattering_function(transfer)
    return scattered, cosine, density / density.sum(1, keepdim=True)


def klein_nishina_electrons(energy_kev: Tensor, nodes: int = 12) -> tuple[Tensor, Tensor]:
    """Electron energies in keV and their probabilities by Klein-Nishina, [..., nodes] for photon energies
    [...].
    """
    steps = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    scattered, _, density = _klein_nishina(energy_kev[..., None], steps)
    return energy_kev[..., None] - scattered, density / density.sum(-1, keepdim=True)


def _klein_nishina(energy_kev: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scattered energy, cosine and relative density, at ``place`` from 0 to the Compton edge's 1.

    Even in energy, so the solid angle of a node goes as d cos / dE' = m / E'^2, which leaves the bracket.
    """
    lowest = energy_kev / (1 + 2 * energy_kev / ELECTRON_KEV)
    scattered = energy_kev - place * (energy_kev - lowest)
    cosine = (1 - ELECTRON_KEV * (1 / scattered - 1 / energy_kev)).clamp(-1, 1)
    ratio = scattered / energy_kev
    return scattered, cosine, ratio + 1 / ratio - (1 - cosine**2)


def compton_events(
    material: str, energy_kev: Tensor, block: Block, charge: ChargeTransport
) -> tuple[Events, Events]:
    """Outcomes of photons [line] that scatter at first interaction: the recoil electron alone, or more.

    The scattered photon escapes from the block, is absorbed in it, or scatters once more and is lost. Where
    it is absorbed a K X-ray may escape; other K X-rays are taken as absorbed in place.
    """
    tables = crystal_tables(material)
    points = spread_points(_POINTS, 10)
    scattered, cosine, share = compton_scatter(material, energy_kev, _POINTS)
    start = block.first(points[:, 1:4], tables.attenuation_per_mm(energy_kev))
    way = direction(cosine, points[:, 4])
    flight = block.flight(start, way, tables.attenuation_per_mm(scattered), points[:, 5])
    electron = energy_kev[:, None] - scattered
    first = electron[..., None] * charge.signals(start, 3, electron, electron)
    alone = Events(share * flight.escape, first, _stretch(electron), share * flight.distant)
    # Few photons stay in the block: fewer points suffice.
    few = slice(_SKIP // 2, None, _SKIP)
    stays = share * (1 - flight.escape)
    stays = stays[:, few] * (stays.sum(1) / stays[:, few].sum(1))[:, None]
    end, photon, points = flight.end[:, few], scattered[:, few], points[few]
    k_kev, k_lost = k_escape(material, photon, end, block, points[:, 7:])
    absorbed = tables.photoelectric_share(photon)
    chances = (absorbed * (1 - k_lost), absorbed * k_lost, 1 - absorbed)
    left = (photon, (photon - k_kev).clamp_min(0), _second_electron_kev(photon, points[:, 6]))
    one = electron[:, few, None] * charge.signals(start[:, few], 5, electron[:, few], electron[:, few])
    two = charge.signals(end, 5, photon, photoelectron_kev(material, photon))
    signal = torch.cat([one + energy[..., None] * two for energy in left], dim=1)
    return alone, Events.at_points(stays.repeat(1, 3) * torch.cat(chances, dim=1), signal)


def _stretch(electron_kev: Tensor) -> Tensor:
    """Electron energies relative to that of their quadrature point, [line, point, copy], for a smooth
    continuum.

    A point represents energies around its own, within a sixth of it and reflected at the Compton edge.
    """
    edge = (electron_kev[:, :1] + electron_kev[:, -1:])[..., None]
    steps = (torch.arange(_COPIES, dtype=torch.float64) + 0.5) / _COPIES - 0.5
    electron = electron_kev[..., None]
    moved = electron + steps * torch.minimum(edge / _BLOCKS, electron / 3)
    return (edge - (edge - moved).abs()) / electron


def _second_electron_kev(energy_kev: Tensor, place: Tensor, nodes: int = 12) -> Tensor:
    """Electron energy of a scatter at even places [point] in (0, 1) of its probability, [line, point]."""
    steps = torch.linspace(0, 1, nodes + 1, dtype=torch.float64)
    _, _, density = _klein_nishina(energy_kev[..., None], (steps[1:] + steps[:-1]) / 2)
    passed = torch.nn.functional.pad((density / density.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    node = (passed[..., 1:-1] < place[:, None]).sum(-1, keepdim=True)
    low, high = passed.gather(-1, node), passed.gather(-1, node + 1)
    part = (node + (place[:, None] - low) / (high - low)) / nodes
    lowest = energy_kev / (1 + 2 * energy_kev / ELECTRON_KEV)
    return part[..., 0] * (energy_kev - lowest)
