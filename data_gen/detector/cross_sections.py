"""Interaction in the crystal at many energies at once: tables, read by interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import xraylib
from torch import Tensor

from data_gen.materials import interaction_attenuation_per_mm, material_named, process_mass_attenuation

_LOWEST_KEV, _HIGHEST_KEV, _ENERGIES = 2.0, 2999.0, 1200
_LARGEST_TRANSFER, _TRANSFERS = 250.0, 400
ANGSTROM_KEV = 12.39841984
"""Photon energy times wavelength."""


@dataclass(frozen=True)
class CrystalTables:
    """Attenuation and the incoherent scattering function of a material on even steps of a logarithm."""

    total_per_mm: Tensor
    photoelectric_of_both: Tensor
    electrons: Tensor

    def attenuation_per_mm(self, energy_kev: Tensor) -> Tensor:
        """By what deposits energy, coherent scatter left out; of the shape of ``energy_kev``."""
        return _read(self.total_per_mm, _energy_place(energy_kev))

    def photoelectric_share(self, energy_kev: Tensor) -> Tensor:
        """Photoelectric share of photoelectric and Compton interactions together."""
        return _read(self.photoelectric_of_both, _energy_place(energy_kev))

    def scattering_function(self, transfer_per_angstrom: Tensor) -> Tensor:
        """Electrons, per unit mass in any unit, that scatter at E sin(angle / 2) / 12.4 keV angstrom."""
        place = transfer_per_angstrom / _LARGEST_TRANSFER
        return _read(self.electrons, place.clamp_min(0).sqrt().sqrt() * (_TRANSFERS - 1))


@lru_cache(maxsize=8)
def crystal_tables(material: str) -> CrystalTables:
    """Tables of a material (cross sections: ``data_gen.materials``; scattering functions: xraylib).

    Raises:
        UserError: the material is unknown.
    """
    ratio = torch.linspace(0, 1, _ENERGIES, dtype=torch.float64)
    energy = _LOWEST_KEV * (_HIGHEST_KEV / _LOWEST_KEV) ** ratio
    crystal = material_named(material)
    transfer = _LARGEST_TRANSFER * torch.linspace(0, 1, _TRANSFERS, dtype=torch.float64) ** 4
    electrons = [
        sum(
            share / xraylib.AtomicWeight(z) * _scattering_function(z, q)
            for z, share in crystal.mass_fractions
        )
        for q in transfer.tolist()
    ]
    photoelectric = process_mass_attenuation(material, energy, "photoelectric")
    compton = process_mass_attenuation(material, energy, "compton")
    return CrystalTables(
        interaction_attenuation_per_mm(material, energy),
        photoelectric / (photoelectric + compton),
        torch.tensor(electrons, dtype=torch.float64),
    )


def _scattering_function(z: int, transfer_per_angstrom: float) -> float:
    """Electrons of an atom that scatter; none below the table's start at 0.01 per angstrom."""
    return float(xraylib.SF_Compt(z, transfer_per_angstrom)) if transfer_per_angstrom >= 0.01 else 0.0


def _energy_place(energy_kev: Tensor) -> Tensor:
    """Index, with a fraction, of energies in the tables; energies outside are held at the ends."""
    steps = (_ENERGIES - 1) / torch.log(torch.tensor(_HIGHEST_KEV / _LOWEST_KEV, dtype=torch.float64))
    return torch.log(energy_kev / _LOWEST_KEV) * steps


def _read(table: Tensor, place: Tensor) -> Tensor:
    """Linear interpolation of ``table`` at an index with a fraction."""
    held = place.clamp(0, len(table) - 1)
    below = held.to(torch.int64).clamp_max(len(table) - 2)
    return torch.lerp(table[below], table[below + 1], held - below)
