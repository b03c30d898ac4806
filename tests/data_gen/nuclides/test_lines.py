"""Photon lines against the DDEP evaluations, as the package roentgen reads them."""

import numpy as np
import pytest
from roentgen.nuclides import Nuclide

from data_gen import UserError
from data_gen.nuclides import PhotonLine, photon_lines


def ddep_intensity(nuclide: str, energy_kev: float) -> float:
    """DDEP photons per decay of the line nearest to an energy."""
    element, mass = nuclide.split("-")
    table = Nuclide(element, int(mass)).lines
    energies = np.asarray(table["energy"])
    nearest = int(np.abs(energies - energy_kev).argmin())
    assert abs(energies[nearest] - energy_kev) < 0.05
    return float(np.asarray(table["intensity"])[nearest]) / 100


def ddep_photons(nuclide: str, min_kev: float, max_kev: float) -> float:
    """DDEP photons per decay between two energies."""
    element, mass = nuclide.split("-")
    table = Nuclide(element, int(mass)).lines
    energies = np.asarray(table["energy"])
    inside = (energies > min_kev) & (energies < max_kev)
    return float(np.asarray(table["intensity"])[inside].sum()) / 100


def line_near(nuclide: str, energy_kev: float, kind: str) -> PhotonLine:
    lines = [line for line in photon_lines(nuclide) if line.kind == kind]
    return min(lines, key=lambda line: abs(line.energy_kev - energy_kev))


@pytest.mark.parametrize(
    ("nuclide", "energy_kev"),
    [
        ("Ra-223", 122.319),
        ("Ra-223", 144.270),
        ("Ra-223", 154.208),
        ("Ra-223", 269.463),
        ("Ra-223", 323.871),
        ("Ra-223", 338.282),
        ("Rn-219", 271.228),
        ("Rn-219", 401.810),
        ("Pb-211", 404.834),
        ("Pb-211", 427.150),
        ("Bi-211", 351.030),
        ("Fr-221", 218.120),
        ("Bi-213", 440.440),
        ("Pb-212", 238.632),
        ("Ra-224", 240.986),
        ("Tl-209", 117.224),
        ("Tl-209", 465.128),
        ("Ac-225", 99.596),
        ("Ac-225", 99.752),
        ("Ac-225", 150.063),
        ("Tl-208", 583.187),
    ],
)
def test_strong_gammas_are_those_of_ddep(nuclide, energy_kev):
    """Yield per decay of that nuclide alone, 1e-6; energy 0.001 keV. ICRP-107 is up to 9 % off."""
    line = line_near(nuclide, energy_kev, "gamma")
    assert line.energy_kev == pytest.approx(energy_kev, abs=1e-3)
    assert line.photons_per_decay == pytest.approx(ddep_intensity(nuclide, energy_kev), rel=1e-6)


@pytest.mark.parametrize(
    ("nuclide", "energy_kev"),
    [
        ("Tl-208", 763.45),
        ("Tl-208", 860.53),
        ("Tl-208", 1093.9),
        ("Tl-208", 2614.511),
        ("Bi-212", 727.33),
        ("Bi-212", 785.37),
        ("Bi-212", 1078.63),
        ("Bi-212", 1620.738),
    ],
)
def test_gammas_above_600_kev_are_those_of_ddep(nuclide, energy_kev):
    """The hard lines of Pb-212's daughters: yield 1e-6, energy within 0.1 keV."""
    line = min(photon_lines(nuclide, 600, 2700), key=lambda line: abs(line.energy_kev - energy_kev))
    assert line.energy_kev == pytest.approx(energy_kev, abs=0.1)
    assert line.photons_per_decay == pytest.approx(ddep_intensity(nuclide, energy_kev), rel=1e-6)


def test_photons_above_600_kev_of_the_lead_212_chain():
    """0.52 photons per decay of Pb-212 in equilibrium (branch to Tl-208: 0.3593), summed from DDEP's tables
    over 600-2700 keV; 1e-6."""
    ours = sum(line.photons_per_decay for line in photon_lines("Bi-212", 600, 2700))
    ours += 0.3593 * sum(line.photons_per_decay for line in photon_lines("Tl-208", 600, 2700))
    ddep = ddep_photons("Bi-212", 600, 2700) + 0.3593 * ddep_photons("Tl-208", 600, 2700)
    assert ours == pytest.approx(ddep, rel=1e-6)
    assert photon_lines("Pb-212", 600, 2700) == ()


@pytest.mark.parametrize(
    ("nuclide", "ka2_kev", "ka1_kev"),
    [
        ("Ra-223", 81.07, 83.78),
        ("Rn-219", 76.864, 79.293),
        ("Bi-211", 70.832, 72.873),
        ("Ac-225", 83.23, 86.10),
        ("Fr-221", 78.94, 81.51),
        ("Bi-213", 76.864, 79.293),
        ("Tl-209", 72.805, 74.970),
        ("Pb-212", 74.816, 77.109),
        ("At-211", 76.864, 79.293),
    ],
)
def test_k_xrays_are_those_of_ddep(nuclide, ka2_kev, ka1_kev):
    """K-alpha energies within 0.1 keV, where ICRP-107 itself is 0.2-0.4 keV off; yields 1e-6."""
    for energy_kev in (ka2_kev, ka1_kev):
        line = line_near(nuclide, energy_kev, "xray")
        assert line.energy_kev == pytest.approx(energy_kev, abs=0.1)
        assert line.photons_per_decay == pytest.approx(ddep_intensity(nuclide, energy_kev), rel=1e-6)


def test_k_beta_group_of_radon_is_that_of_ddep():
    """K'beta1 of Ra-223: strongest line within 0.1 keV of 94.85, its lines sum to DDEP's yield, 1e-6."""
    group = [line for line in photon_lines("Ra-223", 94, 96) if line.kind == "xray"]
    total = sum(line.photons_per_decay for line in group)
    strongest = max(group, key=lambda line: line.photons_per_decay)
    assert strongest.energy_kev == pytest.approx(94.8547, abs=0.1)
    assert total == pytest.approx(ddep_intensity("Ra-223", 94.8547), rel=1e-6)


def test_gadolinium_xrays_of_tb_149():
    """K-alpha after electron capture: Gd 42.309 and 42.996 keV [Bearden 1967], within 0.1 keV."""
    assert line_near("Tb-149", 42.309, "xray").energy_kev == pytest.approx(42.309, abs=0.1)
    assert line_near("Tb-149", 42.996, "xray").energy_kev == pytest.approx(42.996, abs=0.1)


def test_annihilation_photons_are_counted():
    """Tb-149 emits 7.1 positrons per 100 decays (ICRP-107), two photons of 511 keV for each, within 1 %."""
    line = line_near("Tb-149", 511.0, "gamma")
    assert line.energy_kev == pytest.approx(511.0, abs=0.1)
    assert line.photons_per_decay == pytest.approx(0.143, rel=0.01)


def test_lines_are_sorted_and_bounded():
    """The contract of the public face: rising energies inside the limits, progeny not included."""
    lines = photon_lines("Ac-225", 60, 300)
    energies = [line.energy_kev for line in lines]
    assert energies == sorted(energies)
    assert min(energies) >= 60
    assert max(energies) <= 300
    assert {line.nuclide for line in lines} == {"Ac-225"}
    assert not any(abs(line.energy_kev - 218.1) < 0.5 and line.photons_per_decay > 0.05 for line in lines)


def test_stable_nuclides_emit_nothing():
    assert photon_lines("Pb-207") == ()


def test_wrong_limits_are_told():
    with pytest.raises(UserError, match="min_kev < max_kev"):
        photon_lines("Ra-223", 600, 20)
