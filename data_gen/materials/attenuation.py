"""Photon attenuation coefficients of materials.

From the name of a material and photon energies in keV: mass attenuation in cm2/g by process (photoelectric,
Compton, Rayleigh, pair production), linear attenuation in 1/mm, and interaction probabilities. A material's
coefficient is the sum of its elements', weighted by mass fraction. Sources: xraylib (Schoonjans et al.,
Spectrochim. Acta B 66 (2011) 776) up to 800 keV, NIST XCOM (``xcom.csv``) from there to 3000 keV.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import xraylib
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.materials.compositions import material_named
from data_gen.materials.xcom import Process, xcom_mass_attenuation

ENERGY_RANGE_KEV = (1.0, 3000.0)
"""Photon energies at which cross sections are tabulated."""

_XRAYLIB_ENDS_KEV = 800.0
"""Highest energy of xraylib's Compton and Rayleigh tables."""
_XRAYLIB: dict[Process, Callable[[int, float], float]] = {
    "photoelectric": xraylib.CS_Photo,
    "compton": xraylib.CS_Compt,
    "rayleigh": xraylib.CS_Rayl,
}


def process_mass_attenuation(material: str, energy_kev: Tensor | float, process: Process) -> Tensor:
    """Mass attenuation coefficient of one process in cm2/g, of the shape of ``energy_kev``, float64.

    Pair production ("pair") begins at 1022 keV.

    Raises:
        UserError: unknown material, or an energy outside 1-3000 keV.
    """
    energy = torch.as_tensor(energy_kev, dtype=torch.float64).detach()
    values = _tabulated(material, energy.reshape(-1).tolist(), process)
    return torch.tensor(values, dtype=torch.float64, device=energy.device).reshape(energy.shape)


def mass_attenuation(material: str, energy_kev: Tensor | float) -> Tensor:
    """Total mass attenuation in cm2/g, coherent scatter included; see :func:`process_mass_attenuation`."""
    rayleigh = process_mass_attenuation(material, energy_kev, "rayleigh")
    return rayleigh + _interaction_mass_attenuation(material, energy_kev)


def linear_attenuation_per_mm(
    material: str, energy_kev: Tensor | float, density_g_cm3: float | None = None
) -> Tensor:
    """Total linear attenuation in 1/mm, of the shape of ``energy_kev``; at the material's own density by
    default.
    """
    return _per_mm(mass_attenuation(material, energy_kev), material, density_g_cm3)


def interaction_attenuation_per_mm(
    material: str, energy_kev: Tensor | float, density_g_cm3: float | None = None
) -> Tensor:
    """Linear attenuation in 1/mm by photoelectric absorption, Compton scatter and pair production.

    Coherent (Rayleigh) scatter, which deposits no energy, is left out.
    """
    return _per_mm(_interaction_mass_attenuation(material, energy_kev), material, density_g_cm3)


def interaction_probability(
    material: str, energy_kev: Tensor | float, thickness_mm: float | Tensor
) -> Tensor:
    """Probability that a photon deposits energy along a straight path of ``thickness_mm``: 1 - exp(-mu d)."""
    return -torch.expm1(-interaction_attenuation_per_mm(material, energy_kev) * thickness_mm)


def _interaction_mass_attenuation(material: str, energy_kev: Tensor | float) -> Tensor:
    """Photoelectric, Compton and pair mass attenuation in cm2/g."""
    depositing: tuple[Process, ...] = ("photoelectric", "compton", "pair")
    return torch.stack([process_mass_attenuation(material, energy_kev, p) for p in depositing]).sum(0)


def _per_mm(mass_attenuation_cm2_g: Tensor, material: str, density_g_cm3: float | None) -> Tensor:
    """Linear attenuation in 1/mm from mass attenuation in cm2/g."""
    density = material_named(material).density_g_cm3 if density_g_cm3 is None else density_g_cm3
    return mass_attenuation_cm2_g * density / 10.0


def _tabulated(material: str, energies_kev: list[float], process: Process) -> list[float]:
    """Mass attenuation in cm2/g at each energy."""
    low, high = ENERGY_RANGE_KEV
    fractions = material_named(material).mass_fractions
    for energy in energies_kev:
        if not low <= energy <= high:
            raise UserError(
                f"attenuation of {material} at {energy:g} keV is not tabulated; use {low:g}-{high:g} keV"
            )
    return [sum(w * element_mass_attenuation(z, e, process) for z, w in fractions) for e in energies_kev]


def element_mass_attenuation(z: int, energy_kev: float, process: Process) -> float:
    """Mass attenuation of an element in cm2/g by one process, at 1-3000 keV."""
    if energy_kev > _XRAYLIB_ENDS_KEV:
        return xcom_mass_attenuation(z, energy_kev, process)
    # Pair production begins at 1022 keV, above what xraylib covers.
    return float(_XRAYLIB[process](z, energy_kev)) if process in _XRAYLIB else 0.0
