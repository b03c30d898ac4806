"""Bremsstrahlung against ESTAR's radiation yields, a rule of radiation protection, and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import UserError
from data_gen.nuclides import bremsstrahlung
from data_gen.nuclides.bremsstrahlung import beta_spectrum, external_density, internal_density

ESTAR_KEV = np.array([10.0, 50, 100, 200, 500, 1000, 1500, 2000, 2500])
ESTAR_YIELD = np.array([9.4e-5, 3.43e-4, 5.842e-4, 9.83e-4, 1.976e-3, 3.579e-3, 5.28e-3, 7.09e-3, 8.97e-3])
"""Liquid water; 100 and 1000 keV as NIST prints them, the rest by integrating its stopping powers."""


def mean_energy_kev(nuclide: str) -> float:
    energy, born = beta_spectrum(nuclide)
    return float(np.trapezoid(energy * born, energy))


def external_kev(nuclide: str) -> float:
    """Energy per decay of the external photons above 1 keV."""
    photon = np.geomspace(1.0, 2700.0, 400)
    density = external_density(*beta_spectrum(nuclide), photon)
    return float(np.trapezoid(photon**2 * density, np.log(photon)))


@pytest.mark.parametrize(
    ("nuclide", "mean_kev"), [("P-32", 695), ("Y-90", 933), ("Bi-213", 425), ("Tl-209", 655)]
)
def test_beta_spectrum(nuclide, mean_kev):
    """Mean energy per decay as ICRP-107 tabulates it beside the spectra, within 1.5 %."""
    assert mean_energy_kev(nuclide) == pytest.approx(mean_kev, rel=0.015)


@pytest.mark.parametrize("nuclide", ["P-32", "Y-90", "Bi-212", "Bi-213", "Tl-208", "Pb-211", "Tl-207"])
def test_energy_radiated_is_estars(nuclide):
    """Energy of the external photons: ESTAR's radiation yield averaged over the betas, within 4 %."""
    energy, born = beta_spectrum(nuclide)
    radiated = np.interp(energy, ESTAR_KEV, ESTAR_YIELD) * energy * born
    assert external_kev(nuclide) == pytest.approx(float(np.trapezoid(radiated, energy)), rel=0.04)


@pytest.mark.parametrize(("nuclide", "end_mev"), [("P-32", 1.711), ("Y-90", 2.280)])
def test_rule_of_radiation_protection(nuclide, end_mev):
    """Cember's rule, on the safe side: a share 3.5e-4 Z E_max of the betas' energy, with water's Z of 6.6
    (weighted by electrons); ours lies 10-35 % below."""
    rule = 3.5e-4 * 6.6 * end_mev
    assert 0.65 < external_kev(nuclide) / mean_energy_kev(nuclide) / rule < 0.9


def test_soft_internal_photons():
    """As k goes to 0, k N(k) = (alpha/pi)((1/b) ln((1 + b)/(1 - b)) - 2), b the beta's v/c, averaged over
    betas even in 0-1000 keV; within 1 % at 1 keV."""
    energy = np.linspace(0.0, 1000.0, 1001)
    density = internal_density(energy, np.full_like(energy, 1e-3), np.array([1.0]))[0]
    speed = np.sqrt(1 - (1 + (energy[1:] - 0.5) / 511.0) ** -2)
    soft = (np.log((1 + speed) / (1 - speed)) / speed - 2) / (137.036 * math.pi)
    assert 1.0 * density == pytest.approx(float(soft.mean()), rel=0.01)


@settings(max_examples=10, derandomize=True)
@given(cut=st.floats(25, 2600))
def test_bins_add_up(cut):
    """Photons of two bins are those of the bin that holds both, within 1 %; nothing above the end point."""
    whole, parts = bremsstrahlung("Bi-212", [20.0, 2700.0]), bremsstrahlung("Bi-212", [20.0, cut, 2700.0])
    assert float(parts.sum()) == pytest.approx(float(whole.sum()), rel=0.01)
    assert float(bremsstrahlung("Bi-212", [2250.0, 2700.0]).sum()) == 0.0


@pytest.mark.parametrize("nuclide", ["Ra-223", "Po-213", "Pb-207"])
def test_no_betas_no_bremsstrahlung(nuclide):
    assert bremsstrahlung(nuclide, [20.0, 100.0, 600.0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("edges", [[5.0, 100.0], [100.0, 50.0], [100.0], [20.0, float("nan")]])
def test_wrong_edges_are_told(edges):
    with pytest.raises(UserError, match="rise from 10 keV"):
        bremsstrahlung("Y-90", edges)
