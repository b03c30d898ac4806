"""Attenuation against the NIST tables (as shipped by roentgen), a source independent of xraylib's."""

import math

import astropy.units as u
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from roentgen.absorption import MassAttenuationCoefficient

from data_gen import UserError, mass_attenuation
from data_gen.materials import (
    density_g_cm3,
    interaction_attenuation_per_mm,
    interaction_probability,
    linear_attenuation_per_mm,
    process_mass_attenuation,
)

NODES_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 800.0)
HIGH_NODES_KEV = (1000.0, 1250.0, 1500.0, 2000.0, 3000.0)
NIST_NAMES = {
    "water": "water",
    "air": "air",
    "lung": "lung",
    "soft_tissue": "tissue",
    "cortical_bone": "bone",
    "CdTe": "cdte",
    "tungsten": "tungsten",
    "gold": "gold",
    "lead": "lead",
    "platinum": "platinum",
    "germanium": "germanium",
    "silicon": "silicon",
    "PMMA": "pmma",
}


@pytest.mark.parametrize("material", NIST_NAMES)
def test_total_attenuation_agrees_with_nist(material):
    """NIST XCOM at its own nodes from 20 to 3000 keV, coherent scatter included, within 1 %."""
    nodes = NODES_KEV + HIGH_NODES_KEV
    nist = MassAttenuationCoefficient(NIST_NAMES[material]).func(nodes * u.keV).to("cm2 / g").value
    ours = mass_attenuation(material, torch.tensor(nodes))
    assert ours.dtype == torch.float64
    assert ours.tolist() == pytest.approx(list(nist), rel=0.01)


@pytest.mark.parametrize("material", ["water", "tungsten", "lead", "CdTe"])
def test_between_the_nodes(material):
    """2614.5 keV of Tl-208 lies between NIST's curves that bend up: within 1 % of its two neighbours' log-log
    chord, which for lead and tungsten runs up to 0.9 % above the curve."""
    nist = MassAttenuationCoefficient(NIST_NAMES[material]).func((2000.0, 3000.0) * u.keV).to("cm2 / g").value
    share = math.log(2614.5 / 2000) / math.log(3000 / 2000)
    chord = math.exp((1 - share) * math.log(nist[0]) + share * math.log(nist[1]))
    assert float(mass_attenuation(material, 2614.5)) == pytest.approx(chord, rel=0.01)


@pytest.mark.parametrize("material", ["water", "cortical_bone", "tungsten", "lead", "CdTe"])
@pytest.mark.parametrize("process", ["photoelectric", "compton", "rayleigh"])
def test_tables_join(material, process):
    """xraylib's last and XCOM's first node are the same NIST data: a step below 0.02 %, each process."""
    below, above = process_mass_attenuation(material, torch.tensor([800.0, 800.0 + 1e-6]), process)
    assert float(above / below) == pytest.approx(1.0, abs=2e-4)


def test_pair_production_begins_at_its_threshold():
    """0 up to 1022 keV, then rising; lead at 2 MeV by XCOM: 5.45e-3 cm2/g (1.875 b/atom), within 0.5 %."""
    pair = process_mass_attenuation("lead", torch.tensor([500.0, 1022.0, 1100.0, 1500.0, 2000.0]), "pair")
    assert pair[:2].tolist() == [0.0, 0.0]
    assert (pair[2:].diff() > 0).all()
    assert float(pair[2]) > 0
    assert float(pair[4]) == pytest.approx(1.875 * 0.60221 / 207.2, rel=0.005)


@given(energy=st.floats(801, 2999))
def test_processes_sum_to_the_total(energy):
    """Photoelectric, Compton, Rayleigh and pair are all there is, within 1e-12."""
    parts = ("photoelectric", "compton", "rayleigh", "pair")
    total = sum(float(process_mass_attenuation("CdTe", energy, p)) for p in parts)
    assert total == pytest.approx(float(mass_attenuation("CdTe", energy)), rel=1e-12)


def test_detector_thickness_stops_what_it_should():
    """2 mm of CdTe of 5.85 g/cm3 by NIST's total at 100 keV, within 1 %."""
    through = torch.exp(-2.0 * linear_attenuation_per_mm("CdTe", 100.0))
    assert float(through) == pytest.approx(float(torch.exp(torch.tensor(-1.671 * 5.85 * 0.2))), rel=0.01)


@given(energy=st.floats(20, 600), thickness=st.floats(0, 20))
def test_interaction_probability_is_a_probability(energy, thickness):
    """Between 0 and what the total attenuation stops, and 1 - exp(-mu t) by definition, within 1e-12."""
    probability = float(interaction_probability("CdTe", energy, thickness))
    total = float(1 - torch.exp(-linear_attenuation_per_mm("CdTe", energy) * thickness))
    own = float(1 - torch.exp(-interaction_attenuation_per_mm("CdTe", energy) * thickness))
    assert 0 <= probability <= total + 1e-12
    assert probability == pytest.approx(own, abs=1e-12)


def test_density_scales_linear_attenuation():
    """Half the density, half the attenuation; 1/mm is a tenth of cm2/g x g/cm3."""
    own = linear_attenuation_per_mm("lung", 82.0)
    assert float(own) == pytest.approx(float(mass_attenuation("lung", 82.0)) * density_g_cm3("lung") / 10)
    assert float(linear_attenuation_per_mm("lung", 82.0, 0.13)) == pytest.approx(float(own) / 2)


def test_shape_follows_the_energies():
    assert mass_attenuation("water", torch.full((2, 3), 100.0)).shape == (2, 3)
    assert mass_attenuation("water", 100).shape == ()


@pytest.mark.parametrize(
    ("material", "energy", "reason"),
    [
        ("tungstn", 100.0, "did you mean 'tungsten'"),
        ("unobtainium", 100.0, "is not one of air, lung"),
        ("water", 3001.0, "1-3000 keV"),
        ("water", float("nan"), "1-3000 keV"),
        ("water", 0.0, "1-3000 keV"),
    ],
)
def test_what_is_not_tabulated_is_told(material, energy, reason):
    with pytest.raises(UserError, match=reason):
        mass_attenuation(material, energy)
