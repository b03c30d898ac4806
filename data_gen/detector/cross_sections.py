"""Interaction data of a detector crystal, tabulated over energy (keV) for fast look-up.

Attenuation in 1/mm, photoelectric fraction and incoherent scattering function. Sources:
``data_gen.materials`` (xraylib, NIST XCOM); scattering functions of xraylib.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import xraylib
from torch import Tensor

from data_gen.materials import (
    Material,
    interaction_attenuation_per_mm,
    k_edges_kev,
    material_named,
    process_mass_attenuation,
)

_LOWEST_KEV, _HIGHEST_KEV, _ENERGIES = 2.0, 2999.0, 1200
"""Range and number of the tabulated photon energies; chosen, no source."""
_LARGEST_TRANSFER, _TRANSFERS = 250.0, 400
"""Largest tabulated momentum transfer in 1/angstrom, and number of nodes up to it; chosen, no source."""
ANGSTROM_KEV = 12.39841984
"""Photon energy times wavelength, hc in keV angstrom."""


@dataclass(frozen=True)
class CrystalTables:
    """Attenuation at energies evenly spaced in logarithm, K edges among them; incoherent scattering
    function.
    """

    energy_kev: Tensor
    total_per_mm: Tensor
    photoelectric_of_both: Tensor
    transfer_per_angstrom: Tensor
    electrons: Tensor
    soft_kev: Tensor
    turning_per_mm: Tensor

    def attenuation_per_mm(self, energy_kev: Tensor) -> Tensor:
        """Attenuation in 1/mm by energy-depositing interactions (no coherent scatter), of the shape of
        ``energy_kev``.
        """
        return _read(self.energy_kev, self.total_per_mm, energy_kev)

    def stopping_per_mm(self, soft_kev: Tensor) -> Tensor:
        """The same for photons below 60 keV, plus coherent scatter weighted by its change of direction.

        Coherent scatter counts by 1 - cosine of its angle (transport correction): it is 7 % of the
        interactions of Cd's K X-rays.
        """
        return self.attenuation_per_mm(soft_kev) + _read(self.soft_kev, self.turning_per_mm, soft_kev)

    def photoelectric_share(self, energy_kev: Tensor) -> Tensor:
        """Fraction of photoelectric among photoelectric and Compton interactions."""
        return _read(self.energy_kev, self.photoelectric_of_both, energy_kev)

    def scattering_function(self, transfer_per_angstrom: Tensor) -> Tensor:
        """Incoherent scattering function per mass (arbitrary unit) at momentum transfers E sin(angle / 2) /
        12.4 keV angstrom.
        """
        return _read(self.transfer_per_angstrom, self.electrons, transfer_per_angstrom)


def crystal_tables(material: str) -> CrystalTables:
    """Tables of a material (cross sections: ``data_gen.materials``; scattering functions: xraylib).

    Raises:
        UserError: the material is unknown.
    """
    return _tables(material, material_named(material))


@lru_cache(maxsize=8)
def _tables(material: str, known: Material) -> CrystalTables:
    """See :func:`crystal_tables`; a material that has changed gets tables of its own."""
    even = torch.linspace(0, 1, _ENERGIES, dtype=torch.float64)
    edges = torch.tensor(k_edges_kev(material, _LOWEST_KEV), dtype=torch.float64)
    # The tables' own edges lie up to 2 eV beside the tabulated ones.
    energy = torch.cat((_LOWEST_KEV * (_HIGHEST_KEV / _LOWEST_KEV) ** even, edges - 0.01, edges + 0.01))
    energy = energy.sort().values
    photoelectric = process_mass_attenuation(material, energy, "photoelectric")
    compton = process_mass_attenuation(material, energy, "compton")
    transfer = _LARGEST_TRANSFER * torch.linspace(0, 1, _TRANSFERS, dtype=torch.float64) ** 4
    fractions = known.mass_fractions
    electrons = [
        sum(share / xraylib.AtomicWeight(z) * _scattering_function(z, q) for z, share in fractions)
        for q in transfer.tolist()
    ]
    return CrystalTables(
        energy,
        interaction_attenuation_per_mm(material, energy),
        photoelectric / (photoelectric + compton),
        transfer,
        torch.tensor(electrons, dtype=torch.float64),
        *_turning(material),
    )


def _turning(material: str) -> tuple[Tensor, Tensor]:
    """Energies up to 60 keV, and coherent scatter at them in 1/mm, weighted by 1 - cosine of its angle."""
    energy = torch.linspace(2.0, 60.0, 60, dtype=torch.float64)
    cosine = torch.linspace(-1, 1, 49, dtype=torch.float64)[:-1] + 1 / 48
    crystal = material_named(material)
    per_gram = [
        sum(
            share * xraylib.DCS_Rayl(z, e, math.acos(c)) * (1 - c)
            for z, share in crystal.mass_fractions
            for c in cosine.tolist()
        )
        for e in energy.tolist()
    ]
    scale = 2 * math.pi * (2 / 48) * crystal.density_g_cm3 / 10
    return energy, scale * torch.tensor(per_gram, dtype=torch.float64)


def _scattering_function(z: int, transfer_per_angstrom: float) -> float:
    """Incoherent scattering function of an atom; 0 below the table's start at 0.01 per angstrom."""
    return float(xraylib.SF_Compt(z, transfer_per_angstrom)) if transfer_per_angstrom >= 0.01 else 0.0


def _read(nodes: Tensor, table: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation of ``table`` between ascending ``nodes``, constant beyond its ends."""
    above = torch.bucketize(at.contiguous(), nodes).clamp(1, len(nodes) - 1)
    below = above - 1
    part = ((at - nodes[below]) / (nodes[above] - nodes[below])).clamp(0, 1)
    return torch.lerp(table[below], table[above], part)
