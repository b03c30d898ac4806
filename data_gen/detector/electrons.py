"""Where fast electrons leave their energy: range, and spread about the place where they start.

Energies are in keV, lengths in mm. Continuous slowing down by Bethe's formula for electrons (Berger and
Seltzer, NASA SP-3012 (1964); mean excitation energies 9.76 Z + 58.8 Z^-0.19 eV of the same, by Bragg's rule);
directions by elastic scatter in screened Coulomb fields (Moliere, Z. Naturforsch. 2a (1947) 133), and moments
of position by Lewis, Phys. Rev. 78 (1950) 526. Radiative losses and the density effect, 3 % of the stopping
power at 500 keV in CdTe, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import xraylib
from numpy.typing import NDArray
from torch import Tensor

from data_gen.materials import material_named

Array = NDArray[np.float64]

_LOWEST_KEV, _HIGHEST_KEV, _ENERGIES = 1.0, 3000.0, 600
"""Range and number of the tabulated energies; below, electrons stop at once; chosen, no source."""
_REST_KEV = 510.998950
"""Rest energy of the electron (CODATA)."""
_FINE_STRUCTURE = 1 / 137.035999
_RADIUS_CM = 2.8179403262e-13
"""Classical radius of the electron (CODATA)."""
_PER_MOLE = 6.02214076e23


@dataclass(frozen=True)
class ElectronTable:
    """Electrons of kinetic energies [energy] in a material, ascending in energy.

    Args:
        energy_kev: kinetic energy.
        range_mm: length of the path until they stop, by continuous slowing down.
        spread_mm: standard deviation, along each axis, of the place of the energy that they leave, for
            directions at the start that are evenly spread.
    """

    energy_kev: Tensor
    range_mm: Tensor
    spread_mm: Tensor

    def spread_at_mm(self, energy_kev: Tensor) -> Tensor:
        """``spread_mm`` at kinetic energies, of their shape; 0 at 0."""
        nodes = self.energy_kev.log()
        at = energy_kev.clamp(float(self.energy_kev[0]), float(self.energy_kev[-1])).log()
        place = (at - nodes[0]) / (nodes[1] - nodes[0])
        below = place.to(torch.int64).clamp_max(len(nodes) - 2)
        return torch.lerp(self.spread_mm[below], self.spread_mm[below + 1], place - below)


@lru_cache(maxsize=8)
def electron_table(material: str) -> ElectronTable:
    """Ranges and spreads of electrons of 1 keV to 3 MeV.

    Raises:
        UserError: the material is unknown.
    """
    energy = np.geomspace(_LOWEST_KEV, _HIGHEST_KEV, _ENERGIES)
    steps = np.diff(energy) / stopping_kev_per_mm(material, np.sqrt(energy[1:] * energy[:-1]))
    turning = turning_per_mm(material, np.sqrt(energy[1:] * energy[:-1]))
    spread = np.sqrt(_mean_square_mm2(energy, steps, turning) / 3)
    ranges = np.concatenate(([0.0], steps.cumsum()))
    return ElectronTable(*(torch.from_numpy(column) for column in (energy, ranges, spread)))


def _mean_square_mm2(energy_kev: Array, steps_mm: Array, turning_per_mm: Array) -> Array:
    """Mean square distance from the start of the energy left by electrons that start at each energy.

    Lewis: along the path, d<r.u> = (1 - turning <r.u>) ds and d<r^2> = 2 <r.u> ds for the direction u.
    """
    along, square, left = (np.zeros_like(energy_kev) for _ in range(3))
    for node in range(len(steps_mm) - 1, -1, -1):
        # All electrons that start above this step of energy cross it.
        moving = slice(node + 1, None)
        step, turning = steps_mm[node], turning_per_mm[node]
        kept = np.exp(-turning * step)
        new_along = along[moving] * kept + (1 - kept) / turning
        new_square = square[moving] + (along[moving] + new_along) * step
        lost = energy_kev[node + 1] - energy_kev[node]
        left[moving] += lost * (square[moving] + new_square) / 2
        along[moving], square[moving] = new_along, new_square
    # What is below the lowest energy is left where the path ends.
    return np.asarray((left + energy_kev[0] * square) / energy_kev, dtype=np.float64)


def stopping_kev_per_mm(material: str, energy_kev: Array) -> Array:
    """Collision stopping power at kinetic energies, of their shape."""
    tau = energy_kev / _REST_KEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    last = 1 - beta2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
    total = np.zeros_like(energy_kev)
    crystal = material_named(material)
    for z, share in crystal.mass_fractions:
        excitation = (9.76 * z + 58.8 * z**-0.19) / 1000 / _REST_KEV
        electrons_per_cm3 = crystal.density_g_cm3 * share * _PER_MOLE * z / xraylib.AtomicWeight(z)
        per_cm = 2 * np.pi * _RADIUS_CM**2 * _REST_KEV / beta2 * electrons_per_cm3
        total += per_cm * (np.log(tau**2 * (tau + 2) / (2 * excitation**2)) + last) / 10
    return total


def turning_per_mm(material: str, energy_kev: Array) -> Array:
    """Mean of 1 - cosine of elastic scatter per path length, at kinetic energies, of their shape.

    Electrons of the atoms scatter too: Z (Z + 1) for Z^2.
    """
    gamma = 1 + energy_kev / _REST_KEV
    beta2 = 1 - gamma**-2
    total = np.zeros_like(energy_kev)
    crystal = material_named(material)
    for z, share in crystal.mass_fractions:
        # Half the angle of screening, squared, with Thomas and Fermi's radius of the atom.
        screening = (_FINE_STRUCTURE * z ** (1 / 3) / 0.885) ** 2 / (4 * gamma**2 * beta2)
        screening = screening * (1.13 + 3.76 * (_FINE_STRUCTURE * z) ** 2 / beta2)
        bracket = np.log1p(1 / screening) - 1 / (1 + screening)
        atoms_per_cm3 = crystal.density_g_cm3 * share * _PER_MOLE / xraylib.AtomicWeight(z)
        area_cm2 = 2 * np.pi * z * (z + 1) * (_RADIUS_CM / (gamma * beta2)) ** 2 * bracket
        total += atoms_per_cm3 * area_cm2 / 10
    return total
