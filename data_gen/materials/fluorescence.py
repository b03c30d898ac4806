"""K edges and K fluorescence of materials.

From the name of a material and photon energies in keV: the K edges in keV, and the energies and yields of the
K X-rays that follow a photoelectric absorption, as float64 on the CPU. Source: K edges, jump factors,
fluorescence yields, radiative rates and photoelectric cross sections of xraylib (Schoonjans et al.,
Spectrochim. Acta B 66 (2011) 776); photoelectric cross sections above 800 keV of NIST XCOM.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import xraylib
from torch import Tensor

from data_gen.materials.attenuation import element_mass_attenuation, process_mass_attenuation
from data_gen.materials.compositions import material_named

_LINES = tuple(getattr(xraylib, f"K{shells}_LINE") for shells in ("L2", "L3", "M2", "M3", "N2", "N3"))
"""The six K X-rays that count, by the shell that the electron comes from; the rates of all others are given
to them in proportion."""


@dataclass(frozen=True)
class KFluorescence:
    """K X-rays after photoelectric absorption.

    Args:
        energy_kev: energies of the K X-rays, [k].
        photons_per_absorption: K X-rays per photoelectric absorption of a photon of each energy, [photon, k].
    """

    energy_kev: Tensor
    photons_per_absorption: Tensor


def k_edges_kev(material: str, min_kev: float = 20.0) -> tuple[float, ...]:
    """K edges of a material's elements above ``min_kev``, in keV, ascending.

    Raises:
        UserError: the material is unknown.
    """
    elements = (z for z, _ in material_named(material).mass_fractions)
    return tuple(sorted(edge for edge in map(_k_edge_kev, elements) if edge > min_kev))


def k_fluorescence(material: str, energy_kev: Tensor, min_kev: float = 5.0) -> KFluorescence:
    """Energies and yields of the K X-rays after photoelectric absorption in a material.

    An element absorbs by its part of the photoelectric cross section. Above its K edge a fraction 1 - 1/J of
    that is in the K shell, below it none; J, the jump factor, is the ratio of the element's photoelectric
    cross section just above the edge to that just below, and is taken to hold at all energies above. Each K
    vacancy emits a K X-ray with the fluorescence yield times the rate of that X-ray among :data:`_LINES`,
    which are made to sum to 1.

    Args:
        material: name of the material.
        energy_kev: photon energies in keV, [photon].
        min_kev: elements with a K edge below this are left out; their X-rays are absorbed close by.

    Returns:
        float64 on the CPU, whatever the device of the energies.

    Raises:
        UserError: the material is unknown, or an energy is outside 1-3000 keV.
    """
    fractions = [
        (z, share) for z, share in material_named(material).mass_fractions if _k_edge_kev(z) > min_kev
    ]
    total = process_mass_attenuation(material, energy_kev, "photoelectric")
    energies: list[float] = []
    columns: list[Tensor] = []
    for z, share in fractions:
        absorbed = [share * element_mass_attenuation(z, e, "photoelectric") for e in energy_kev.tolist()]
        own = torch.tensor(absorbed, dtype=torch.float64)
        in_k_shell = (1.0 - 1.0 / xraylib.JumpFactor(z, xraylib.K_SHELL)) * (
            energy_kev.cpu() > _k_edge_kev(z)
        )
        holes = in_k_shell * own / total.cpu()
        for line in (line for line in _LINES if _known_rate(z, line) > 0):
            energies.append(float(xraylib.LineEnergy(z, line)))
            columns.append(holes * xraylib.FluorYield(z, xraylib.K_SHELL) * _rate(z, line))
    if not columns:
        return KFluorescence(
            torch.zeros(0, dtype=torch.float64), torch.zeros(len(energy_kev), 0, dtype=torch.float64)
        )
    return KFluorescence(torch.tensor(energies, dtype=torch.float64), torch.stack(columns, dim=1))


def _k_edge_kev(z: int) -> float:
    """K edge of an element in keV."""
    return float(xraylib.EdgeEnergy(z, xraylib.K_SHELL))


def _rate(z: int, line: int) -> float:
    """Fraction of an element's K X-rays in one of :data:`_LINES`; these sum to 1."""
    return _known_rate(z, line) / sum(_known_rate(z, other) for other in _LINES)


def _known_rate(z: int, line: int) -> float:
    """xraylib's radiative rate of a line, 0 for a line that the element does not have."""
    try:
        return float(xraylib.RadRate(z, line))
    except ValueError:
        return 0.0
