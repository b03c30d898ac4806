"""Deposited energies against kinematics, tables of Klein-Nishina means, and a small Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_gen.detector.compton import ELECTRON_KEV
from data_gen.detector.deposits import NODES, deposits
from data_gen.detector.volume import AddedVolume
from data_gen.materials import interaction_attenuation_per_mm, process_mass_attenuation

BOX = AddedVolume(*(torch.tensor(v, dtype=torch.float64) for v in (2.0, 0.25, 0.75)))


@given(energies=st.lists(st.floats(20, 600), min_size=1, max_size=4))
def test_every_photon_leaves_something(energies):
    """Probabilities are 0 or more and sum to 1 within 1e-6; no deposit exceeds the photon's energy."""
    energy = torch.tensor(energies, dtype=torch.float64)
    left = deposits("CdTe", energy, BOX)
    total = left.peak_probability.sum(1) + left.continuum_probability.sum(1)
    assert total.tolist() == pytest.approx([1.0] * len(energies), abs=1e-6)
    assert (left.peak_probability >= 0).all()
    assert (left.continuum_probability >= 0).all()
    assert (left.peak_kev <= energy[:, None]).all()
    assert (left.continuum_kev <= energy[:, None]).all()


def test_escape_energies():
    """Ka1 escapes of Cd and Te, 23.17 and 27.47 keV below the photon within 0.02 keV, lead their elements."""
    left = deposits("CdTe", torch.tensor([82.0], dtype=torch.float64), BOX)
    lost = 82.0 - left.peak_kev[0, 1:]
    chance = left.peak_probability[0, 1:]
    for ka1, element in ((23.17, lost < 27), (27.47, lost > 27)):
        assert float(lost[element][chance[element].argmax()]) == pytest.approx(ka1, abs=0.02)


def simulated_full_energy(energy: float, photons: int, seed: int) -> float:
    """Share of photons that leave all their energy after one Compton scatter: sampled, not integrated."""
    rng = np.random.default_rng(seed)
    mu = float(interaction_attenuation_per_mm("CdTe", energy))
    depth = -np.log(1 - rng.random(photons) * (1 - math.exp(-mu * 2.0))) / mu
    place = rng.uniform(-0.125, 0.125, (photons, 2))
    cosine = np.empty(0)
    while len(cosine) < photons:
        trial = rng.uniform(-1, 1, photons)
        ratio = 1 / (1 + energy / ELECTRON_KEV * (1 - trial))
        density = ratio**2 * (ratio + 1 / ratio - 1 + trial**2)
        cosine = np.concatenate((cosine, trial[rng.random(photons) * 2 < density]))
    cosine = cosine[:photons]
    azimuth = rng.uniform(0, 2 * math.pi, photons)
    sine = np.sqrt(1 - cosine**2)
    scattered = torch.from_numpy(energy / (1 + energy / ELECTRON_KEV * (1 - cosine)))
    path = rng.exponential(1 / interaction_attenuation_per_mm("CdTe", scattered).numpy())
    end = np.stack((place[:, 0] + path * sine * np.cos(azimuth), place[:, 1] + path * sine * np.sin(azimuth)))
    z = depth + path * cosine
    inside = (np.abs(end) < 0.375).all(axis=0) & (z > 0) & (z < 2.0)
    photo = process_mass_attenuation("CdTe", scattered, "photoelectric")
    share = photo / (photo + process_mass_attenuation("CdTe", scattered, "compton"))
    return float(np.mean(inside * share.numpy()))


@pytest.mark.parametrize("energy", [150.0, 218.0, 440.0])
def test_compton_photons_are_absorbed_as_sampled(energy):
    """Full energy after one scatter agrees with 20,000 sampled Klein-Nishina photons: 4 sigma and 2 %."""
    left = deposits("CdTe", torch.tensor([energy], dtype=torch.float64), BOX)
    photo = process_mass_attenuation("CdTe", energy, "photoelectric")
    share = float(photo / (photo + process_mass_attenuation("CdTe", energy, "compton")))
    after_scatter = (float(left.peak_probability.sum()) - share) / (1 - share)
    sampled = simulated_full_energy(energy, 20_000, seed=1)
    sigma = math.sqrt(sampled / 20_000)
    assert after_scatter == pytest.approx(sampled, abs=4 * sigma + 0.02 * sampled)


def test_second_scatters_are_few():
    """In 0.75 mm x 0.75 mm x 2 mm less than 4 % of photons scatter twice and are gone, at any energy."""
    left = deposits("CdTe", torch.tensor([82.0, 218.0, 440.0, 600.0], dtype=torch.float64), BOX)
    assert (left.continuum_probability[:, NODES:].sum(1) < 0.04).all()
