"""Compton scatter against kinematics, tables of Klein-Nishina means, and xraylib's cross sections."""

import math

import pytest
import torch
import xraylib

from data_gen.detector.compton import (
    ELECTRON_KEV,
    _second_electron_kev,
    _stretch,
    compton_scatter,
    klein_nishina_electrons,
)


@pytest.mark.parametrize(("energy", "fraction"), [(100.0, 0.138), (200.0, 0.216), (400.0, 0.310)])
def test_mean_compton_electron_energy(energy, fraction):
    """Mean share of the photon's energy [Evans 1955] within 1 %; bound electrons lift it by 7 % at most."""
    photon = torch.tensor([energy], dtype=torch.float64)
    electron, share = klein_nishina_electrons(photon, 200)
    assert float((share * electron).sum()) / energy == pytest.approx(fraction, rel=0.01)
    scattered, _, share = compton_scatter("CdTe", photon, 192)
    assert fraction < float((share * (energy - scattered)).sum()) / energy < 1.07 * fraction


def test_compton_edge():
    """Single scatters end at 2E^2/(m + 2E): 278.3 keV at 440 keV, within a node (1.5 keV)."""
    energy = torch.tensor([440.0], dtype=torch.float64)
    scattered, cosine, _ = compton_scatter("CdTe", energy, 192)
    assert float((440.0 - scattered).max()) == pytest.approx(2 * 440**2 / (ELECTRON_KEV + 880), abs=1.5)
    assert float(cosine.min()) == pytest.approx(-1, abs=0.02)


@pytest.mark.parametrize("energy", [82.0, 440.0, 700.0])
def test_angles_follow_the_differential_cross_section(energy):
    """xraylib's DCS_Compt of Cd and Te, weighted by mass: within 0.3 % at every node."""
    scattered, cosine, share = compton_scatter("CdTe", torch.tensor([energy], dtype=torch.float64), 24)
    fractions = ((48, 112.414), (52, 127.60))
    exact = torch.tensor(
        [
            sum(mass * xraylib.DCS_Compt(z, energy, math.acos(c)) for z, mass in fractions) / e**2
            for e, c in zip(scattered[0].tolist(), cosine[0].tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
    assert share[0].tolist() == pytest.approx((exact / exact.sum()).tolist(), rel=3e-3)


def test_second_scatters_follow_klein_nishina():
    """Even places give the mean energy of 200 Klein-Nishina nodes, within 1 %, at 60 to 2000 keV."""
    energy = torch.tensor([[60.0], [300.0], [2000.0]], dtype=torch.float64)
    place = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    left = _second_electron_kev(energy.expand(3, 1000), place).mean(dim=1)
    nodes, share = klein_nishina_electrons(energy[:, 0], 200)
    assert left.tolist() == pytest.approx((nodes * share).sum(1).tolist(), rel=0.01)


def test_stretched_energies_stay_below_the_compton_edge():
    """No copy beyond the edge, and the mean energy of all copies is kept within 0.2 %."""
    scattered, _, share = compton_scatter("CdTe", torch.tensor([440.0], dtype=torch.float64), 1024)
    electron = 440.0 - scattered
    copies = _stretch(electron) * electron[..., None]
    assert float(copies.max()) <= 2 * 440**2 / (ELECTRON_KEV + 880)
    assert float((share[..., None] * copies).sum() / copies.shape[-1]) == pytest.approx(
        float((share * electron).sum()), rel=2e-3
    )
