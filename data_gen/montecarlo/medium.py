"""Interaction data of a material, tabulated over photon energy for fast look-up.

Total and partial cross sections in cm2/g, K X-rays and scattering angles, at 4-3000 keV. Sources:
``data_gen.materials`` (xraylib, NIST XCOM) and ``angles.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from data_gen.materials import (
    Material,
    k_fluorescence,
    mass_attenuation,
    material_named,
    process_mass_attenuation,
)
from data_gen.materials.attenuation import ENERGY_RANGE_KEV
from data_gen.montecarlo.angles import ScatterAngles, scatter_angles

_STEPS = 4096
_LOWEST_KEV = 4.0
_LOG_STEP = math.log(ENERGY_RANGE_KEV[1] / _LOWEST_KEV) / (_STEPS - 1)


@dataclass(frozen=True)
class Medium:
    """Cross sections on a fine logarithmic energy grid, K X-rays, and scattering angles of a material."""

    material: str
    density_g_cm3: float
    cross_section: Tensor
    """Total, Compton, Rayleigh, photoelectric in cm2/g: [4, step]; the rest of the total is pair production.
    """
    k_kev: Tensor
    """Energies of the K X-rays [k]."""
    k_cumulative: Tensor
    """Probability that a photoelectric absorption emits one of the first k K X-rays, [step, k]."""
    compton: ScatterAngles
    rayleigh: ScatterAngles

    def total(self, energy_kev: Tensor) -> Tensor:
        """Total attenuation in cm2/g."""
        return _between(self.cross_section[0], energy_kev)

    def per_mm(self, energy_kev: Tensor) -> Tensor:
        """Total attenuation in 1/mm at the material's own density."""
        return self.total(energy_kev) * (self.density_g_cm3 / 10.0)

    def shares(self, energy_kev: Tensor) -> Tensor:
        """Fractions of interactions that are Compton, Rayleigh and photoelectric, [3, n]."""
        parts = torch.stack([_between(row, energy_kev) for row in self.cross_section])
        return parts[1:] / parts[0]

    def k_photon(self, energy_kev: Tensor, random: Tensor) -> Tensor:
        """Energy of the K X-ray after a photoelectric absorption, chosen by uniform ``random`` [n]; 0 where
        there is none.
        """
        if not len(self.k_kev):
            return torch.zeros_like(energy_kev)
        sampling = self.k_cumulative[_step(energy_kev).to(torch.int64)]
        line = (random[:, None] >= sampling).sum(dim=1)
        energy = torch.cat((self.k_kev, self.k_kev.new_zeros(1)))
        return energy[line]


def medium(material: str) -> Medium:
    """The medium of a known material.

    Raises:
        UserError: the material is unknown.
    """
    return _medium(material, material_named(material))


@cache
def _medium(material: str, known: Material) -> Medium:
    """See :func:`medium`; a material that has changed gets a medium of its own."""
    energy = _LOWEST_KEV * torch.exp(_LOG_STEP * torch.arange(_STEPS, dtype=torch.float64))
    energy[-1] = ENERGY_RANGE_KEV[1]
    parts = [
        mass_attenuation(material, energy),
        process_mass_attenuation(material, energy, "compton"),
        process_mass_attenuation(material, energy, "rayleigh"),
        process_mass_attenuation(material, energy, "photoelectric"),
    ]
    fluorescence = k_fluorescence(material, energy)
    return Medium(
        material,
        known.density_g_cm3,
        torch.stack(parts),
        fluorescence.energy_kev,
        fluorescence.photons_per_absorption.cumsum(dim=1),
        scatter_angles(material, "compton"),
        scatter_angles(material, "rayleigh"),
    )


def _step(energy_kev: Tensor) -> Tensor:
    """Fractional index of each energy on the grid."""
    return ((energy_kev / _LOWEST_KEV).log() / _LOG_STEP).clamp(0, _STEPS - 1 - 1e-9)


def _between(table: Tensor, energy_kev: Tensor) -> Tensor:
    """Linear interpolation of a table [step]."""
    index = _step(energy_kev)
    low = index.to(torch.int64)
    first = table[low]
    return first + (index - low) * (table[low + 1] - first)
