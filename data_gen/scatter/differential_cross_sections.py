"""Differential cross sections of tissue by class of energy after scatter, as Legendre series of the angle.

Energies in keV, cross sections in cm2/g/sr. Sources: Compton's formula; differential cross sections of
xraylib (Klein-Nishina with incoherent scattering function, Rayleigh with form factor).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import xraylib
from torch import Tensor

from data_gen.materials import TISSUES, material_named, process_mass_attenuation
from data_gen.scatter.energy_classes import PARTS, shares_of_parts
from data_gen.scatter.harmonics import legendre

ELECTRON_KEV = 510.99895
"""Rest energy of the electron (CODATA)."""
NODES = 512
"""Nodes of the scattering angle; closer ones would be at momentum transfers below those tabulated."""
SMALLEST = 0.003
"""Smallest tabulated scattering angle in radians."""
_SOFT = "soft_tissue"


def compton_kev(energy_kev: Tensor, cosine: Tensor) -> Tensor:
    """Energy after Compton scatter by an angle of this cosine (free electron at rest)."""
    return energy_kev / (1 + energy_kev / ELECTRON_KEV * (1 - cosine))


def arrival_classes(energies_kev: Tensor, classes: int) -> Tensor:
    """Edges of the energies after scatter, [g, classes + 1, 2] keV: Rayleigh, then Compton in descending
    energy.

    Compton classes are finer near the full energy, where the photopeak is.
    """
    lowest = compton_kev(energies_kev, torch.tensor(-1.0, dtype=torch.float64))
    share = torch.linspace(0, 1, classes + 1, dtype=torch.float64) ** 1.5
    edge = energies_kev[:, None] - (energies_kev - lowest)[:, None] * share
    compton = torch.stack((edge[:, 1:], edge[:, :-1]), dim=-1)
    return torch.cat((energies_kev[:, None, None].expand(-1, 1, 2), compton), dim=1)


def compton_filling(energies_kev: Tensor, arrival_kev: Tensor) -> Tensor:
    """Distribution within each class [g, k, 2] of photons scattered once in soft tissue in any direction, [g,
    k, part].

    A line is distributed evenly.
    """
    share = torch.linspace(0, 1, PARTS + 1, dtype=torch.float64)
    edge = arrival_kev[..., :1] + (arrival_kev[..., 1:] - arrival_kev[..., :1]) * share
    cosine = (1 - ELECTRON_KEV * (1 / edge - 1 / energies_kev[:, None, None])).clamp(-1, 1)
    angle = ((cosine[..., 1:] + cosine[..., :-1]) / 2).acos().clamp_min(SMALLEST)
    law = [
        _differential(energy, at.flatten(), xraylib.DCS_Compt).reshape(at.shape)
        for energy, at in zip(energies_kev.tolist(), angle, strict=True)
    ]
    return shares_of_parts(torch.stack(law) * cosine.diff(dim=-1))


def spread_arrivals(arrival_kev: Tensor, energies_kev: Tensor) -> Tensor:
    """Arrival edges [g, k, 2] after a second scatter, from those of photons that all start at the mean energy
    after the first scatter; in fact they start with any energy from the lowest to the full one.
    """
    lowest = compton_kev(energies_kev, torch.tensor(-1.0, dtype=torch.float64))
    ratio = torch.stack((lowest, energies_kev), dim=-1) / mean_scattered_kev(energies_kev)[:, None]
    return arrival_kev * ratio[:, None]


def mean_scattered_kev(energies_kev: Tensor) -> Tensor:
    """Mean energy after Compton scatter in soft tissue, of the shape of ``energies_kev``."""
    angle = (torch.arange(NODES, dtype=torch.float64) + 0.5) * math.pi / NODES
    means = []
    for energy in energies_kev.tolist():
        weight = _differential(energy, angle, xraylib.DCS_Compt) * angle.sin()
        scattered = compton_kev(torch.tensor(energy, dtype=torch.float64), angle.cos())
        means.append((weight * scattered).sum() / weight.sum())
    return torch.stack(means)


def turning_series(energies_kev: Tensor, arrival_kev: Tensor, order: int) -> Tensor:
    """Differential cross section of soft tissue as a series of Legendre polynomials of the cosine.

    Returns:
        [g, k, l] in cm2/g/sr, l from 0 to ``order``.
    """
    angle = (torch.arange(NODES, dtype=torch.float64) + 0.5) * math.pi / NODES
    degree = torch.arange(order + 1)
    # A series that is cut off rings; Lanczos' factors calm it.
    calm = torch.sinc(degree / (order + 1)) * (2 * degree + 1) / 2
    share = angle.sin() * 2 / angle.sin().sum()
    polynomial = legendre(angle.cos(), order) * calm * share[:, None]
    energies = zip(energies_kev.tolist(), arrival_kev, strict=True)
    return torch.stack([_by_angle(energy, edges, angle) @ polynomial for energy, edges in energies])


def scatterer_ratios(energies_kev: Tensor, classes: int) -> Tensor:
    """Cross section of each tissue over that of soft tissue, [tissue, g, k], Rayleigh in class 0."""
    rayleigh, compton = _ratio(energies_kev, "rayleigh"), _ratio(energies_kev, "compton")
    return torch.stack([rayleigh, *[compton] * classes], dim=-1)


def _ratio(energies_kev: Tensor, process: Literal["rayleigh", "compton"]) -> Tensor:
    """Cross section of each tissue over that of soft tissue, [tissue, g]."""
    soft = process_mass_attenuation(_SOFT, energies_kev, process)
    return torch.stack([process_mass_attenuation(tissue, energies_kev, process) / soft for tissue in TISSUES])


def _by_angle(energy_kev: float, edges_kev: Tensor, angle: Tensor) -> Tensor:
    """Cross section of each class at each angle, [k, node] in cm2/g/sr."""
    energy = compton_kev(torch.tensor(energy_kev, dtype=torch.float64), angle.cos())
    low, high = edges_kev[1:, 0, None], edges_kev[1:, 1, None]
    inside = (energy >= low) & (energy < high)
    compton = inside * _differential(energy_kev, angle, xraylib.DCS_Compt)
    rayleigh = _differential(energy_kev, angle, xraylib.DCS_Rayl)
    return torch.cat((rayleigh[None], compton))


def _differential(energy_kev: float, angle: Tensor, one: Callable[[int, float, float], float]) -> Tensor:
    """Differential cross section of soft tissue at each angle in cm2/g/sr."""
    parts = material_named(_SOFT).mass_fractions
    sums = [sum(share * one(z, energy_kev, a) for z, share in parts) for a in angle.tolist()]
    return torch.tensor(sums, dtype=torch.float64)
