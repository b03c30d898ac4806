"""Bremsstrahlung photons of beta decay: external, of betas stopped in water, and internal.

From a nuclide and photon energy bins in keV: photons per decay. Betas slow down continuously, so each passes
every energy T below its own, and external photons of energy k per decay and keV are

    N(k) = integral over T > k of B(T) m(T, k) / S(T) dT,

B(T) the betas per decay emitted above T (ICRP-107), S the stopping power and m the photons per path length of
data_gen/materials/electrons.py. Internal bremsstrahlung: Knipp and Uhlenbeck (Physica 3 (1936) 425) and Bloch
(Phys. Rev. 50 (1936) 272), the same in every medium, without Coulomb corrections at the nucleus. Soft tissue
is taken as water. Conversion and Auger electrons are neglected: at their low energies they radiate little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import radioactivedecay as rd
import torch
from icrp107_database import get_icrp107_spectrum
from numpy.typing import NDArray
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.materials.electrons import photons_per_path, stopping_power_kev_cm2_g
from data_gen.nuclides.names import canonical_name

Array = NDArray[np.float64]

_ALPHA = 1 / 137.035999
"""Fine-structure constant (CODATA)."""
_MASS_KEV = 510.99895
"""Rest energy of the electron (CODATA)."""
_NODES_PER_BIN = 6
"""Gauss-Legendre nodes in each photon energy bin; chosen, no source."""
_STEPS = 240
"""Steps of the integral over electron energies; chosen, no source."""
_BETA_STEP_KEV = 2.0
"""Largest step of the beta spectrum in energy; chosen, no source."""


def bremsstrahlung(nuclide: str, edges_kev: Tensor | Sequence[float]) -> Tensor:
    """Bremsstrahlung photons, external and internal, per decay of a nuclide alone, [bin], float64.

    Args:
        nuclide: the emitter; without betas it emits none.
        edges_kev: ascending bin edges [bin + 1] in keV, from 10 keV on.

    Raises:
        UserError: the nuclide is unknown, or the edges do not ascend from 10 keV or more.
    """
    edges = np.asarray(edges_kev, dtype=np.float64)
    photon, weight = _nodes(edges)
    energy, born = beta_spectrum(nuclide)
    if not len(energy):
        return torch.zeros(len(edges) - 1, dtype=torch.float64)
    density = external_density(energy, born, photon) + internal_density(energy, born, photon)
    return torch.from_numpy((density * weight).reshape(-1, _NODES_PER_BIN).sum(axis=1))


def beta_spectrum(nuclide: str) -> tuple[Array, Array]:
    """Beta energies [t] in keV, evenly spaced, and betas per decay and keV [t] (ICRP-107); empty without
    betas.

    Raises:
        UserError: the nuclide is unknown.
    """
    name = canonical_name(nuclide)
    stable = math.isinf(rd.Nuclide(name).half_life("s"))
    spectrum = {"energies": (), "weights": ()} if stable else get_icrp107_spectrum(name, "b-spectra")
    if not len(spectrum["energies"]):
        return np.zeros(0), np.zeros(0)
    # The database speaks MeV, and betas per decay and MeV.
    tabulated, weights = 1e3 * np.asarray(spectrum["energies"]), 1e-3 * np.asarray(spectrum["weights"])
    energy = np.linspace(0, tabulated[-1], 1 + math.ceil(tabulated[-1] / _BETA_STEP_KEV))
    return energy, np.interp(energy, tabulated, weights)


def external_density(energy_kev: Array, born_per_kev: Array, photon_kev: Array) -> Array:
    """External bremsstrahlung photons per decay and keV at photon energies [k]; betas stopped in water."""
    steps = (born_per_kev[1:] + born_per_kev[:-1]) / 2 * np.diff(energy_kev)
    born_above = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    # Steps even in the root of T - k: the cross section rises steeply there.
    most = np.sqrt(np.maximum(energy_kev[-1] - photon_kev, 0.0))[:, None]
    share = (np.arange(_STEPS) + 0.5) / _STEPS
    kinetic = photon_kev[:, None] + (most * share) ** 2
    rate = np.interp(kinetic, energy_kev, born_above) / stopping_power_kev_cm2_g(kinetic)
    rate = rate * photons_per_path(kinetic, photon_kev[:, None] + 0 * kinetic)
    return np.asarray((rate * 2 * most**2 * share / _STEPS).sum(axis=1), dtype=np.float64)


def internal_density(energy_kev: Array, born_per_kev: Array, photon_kev: Array) -> Array:
    """Internal bremsstrahlung photons per decay and keV at each photon energy [k]."""
    range_kev = np.maximum(energy_kev[-1] - photon_kev, 0.0)[:, None]
    share = (np.arange(_STEPS) + 0.5) / _STEPS
    kinetic = photon_kev[:, None] + range_kev * share
    before, after = 1 + kinetic / _MASS_KEV, 1 + range_kev * share / _MASS_KEV
    p_before, p_after = np.sqrt(before**2 - 1), np.sqrt(np.maximum(after**2 - 1, 1e-24))
    emitted = (before**2 + after**2) / (before * p_after) * np.log(after + p_after) - 2
    chance = _ALPHA / math.pi * p_after / (p_before * photon_kev[:, None]) * emitted
    born = np.interp(kinetic, energy_kev, born_per_kev)
    return np.asarray((born * chance * range_kev / _STEPS).sum(axis=1), dtype=np.float64)


def _nodes(edges_kev: Array) -> tuple[Array, Array]:
    """Gauss nodes in log photon energy inside each bin, and their weights in keV, both [bin x node]."""
    if len(edges_kev) < 2 or not edges_kev[0] >= 10 or not (np.diff(edges_kev) > 0).all():
        raise UserError(
            f"bremsstrahlung bins have edges {edges_kev.tolist()} keV; they need to rise from 10 keV or more"
        )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_BIN)
    low, width = np.log(edges_kev[:-1, None]), np.diff(np.log(edges_kev))[:, None]
    energy = np.exp(low + width * (nodes + 1) / 2)
    return energy.ravel(), (energy * width * weights / 2).ravel()
