"""Electrons in water against NIST ESTAR's radiation yields and the cross sections of Seltzer and Berger."""

import numpy as np
import pytest

from data_gen.materials.electrons import photons_per_path, radiated_shape, stopping_power_kev_cm2_g

SHARES = np.array([0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
SELTZER_BERGER = {
    # Scaled cross section of oxygen at these shares of the electron's energy (At. Data Nucl. Data Tables 35).
    100.0: (9.95706, 8.33505, 7.0357, 5.1456, 3.77958, 2.57247),
    500.0: (9.9736, 7.67438, 6.08006, 3.96883, 2.47114, 1.29326),
    1000.0: (10.68763, 8.05984, 6.36098, 4.10598, 2.48648, 1.19775),
    2000.0: (11.65734, 8.96474, 7.18643, 4.75684, 2.98512, 1.41586),
}


@pytest.mark.parametrize("kinetic_kev", SELTZER_BERGER)
def test_shape_against_partial_waves(kinetic_kev):
    """Photon energies of 0.1-0.9 of the electron's, both normalised at 0.3: within 9 %."""
    kinetic = np.full_like(SHARES, kinetic_kev)
    ours, theirs = radiated_shape(kinetic, SHARES * kinetic_kev), np.array(SELTZER_BERGER[kinetic_kev])
    assert ours / ours[2] == pytest.approx(theirs / theirs[2], rel=0.09)


@pytest.mark.parametrize(("kinetic_kev", "radiation_yield"), [(100.0, 5.842e-4), (1000.0, 3.579e-3)])
def test_radiation_yield(kinetic_kev, radiation_yield):
    """The energy of all photons of a stopping electron, by ESTAR's yields of liquid water, within 3 %.

    What is radiated below 10 keV of electron energy is left out: 1e-5 of 100 keV.
    """
    kinetic = np.linspace(10.0, kinetic_kev, 2000)
    nodes, weights = np.polynomial.legendre.leggauss(32)
    photon = kinetic[:, None] * (nodes + 1) / 2
    carried = photon * photons_per_path(kinetic[:, None] + 0 * photon, photon)
    per_path = (carried * weights).sum(axis=1) * kinetic / 2
    radiated = np.trapezoid(per_path / stopping_power_kev_cm2_g(kinetic), kinetic)
    assert radiated / kinetic_kev == pytest.approx(radiation_yield, rel=0.03)


def test_stopping_power():
    """ESTAR, total, liquid water: 1.862 MeV cm2/g at 1 MeV, 4.119 at 100 keV; within 0.1 %."""
    assert stopping_power_kev_cm2_g(np.array([100.0, 1000.0])) == pytest.approx([4119, 1862], rel=1e-3)


def test_photons_end_at_the_electrons_energy():
    """Finite and positive up to the electron's energy (Elwert's factor), from 20 keV to 2.7 MeV."""
    for kinetic in (20.0, 200.0, 2700.0):
        photon = kinetic * np.array([0.5, 0.99, 0.999999])
        rate = photons_per_path(np.full(3, kinetic), photon)
        assert np.isfinite(rate).all()
        assert (rate > 0).all()
