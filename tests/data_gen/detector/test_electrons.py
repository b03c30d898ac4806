"""Ranges of electrons against those tabulated, and spreads against electrons followed one by one."""

import math

import numpy as np
import pytest
import torch

from data_gen.detector.electrons import electron_table, stopping_kev_per_mm

REST_KEV = 510.99895


@pytest.mark.parametrize(("energy", "range_um"), [(186.0, 126.0), (408.0, 402.0)])
def test_range_of_photoelectrons(energy, range_um):
    """Photoelectrons of 218 and 440 keV in CdTe: 126 and 402 um by continuous slowing down, within 6 %."""
    table = electron_table("CdTe")
    found = float(np.interp(energy, table.energy_kev.numpy(), table.range_mm.numpy()))
    assert found == pytest.approx(range_um / 1000, rel=0.06)


@pytest.mark.parametrize("energy", [60.0, 186.0, 408.0])
def test_spread_is_that_of_electrons_followed_one_by_one(energy):
    """500 electrons from the origin, evenly in all directions, each elastic collision drawn from its
    screened cross section: mean square of the place of the energy left, within 4 sigma and 2 %."""
    rng, count = np.random.default_rng(3), 500
    place, way = np.zeros((count, 3)), rng.standard_normal((count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    kinetic, square = np.full(count, energy), np.zeros(count)
    while (kinetic > 3.0).any():
        gamma = 1 + kinetic.clip(1.0) / REST_KEV
        beta2 = 1 - gamma**-2
        per_mm, screening = [], []
        for z, atoms_per_mm3 in ((48, 1.4680e19), (52, 1.4680e19)):
            angle = (z ** (1 / 3) / 137.036 / 0.885) ** 2 / (4 * gamma**2 * beta2)
            screening.append(angle * (1.13 + 3.76 * (z / 137.036) ** 2 / beta2))
            area_mm2 = math.pi * z * (z + 1) * (2.8179403e-12 / (gamma * beta2)) ** 2
            per_mm.append(atoms_per_mm3 * area_mm2 / (screening[-1] * (1 + screening[-1])))
        step = rng.exponential(1, count) / (per_mm[0] + per_mm[1])
        lost = np.minimum(kinetic, step * stopping_kev_per_mm("CdTe", kinetic.clip(1.0)))
        place += step[:, None] * way * (kinetic > 3.0)[:, None]
        square += lost * (place**2).sum(1)
        kinetic = kinetic - lost
        heavy = rng.random(count) < per_mm[1] / (per_mm[0] + per_mm[1])
        eta, part = np.where(heavy, screening[1], screening[0]), rng.random(count)
        cosine = 1 - 2 * eta * part / (1 + eta - part)
        way = turned(way, cosine, rng)
    square += kinetic * (place**2).sum(1)
    found, sigma = (square / energy).mean(), (square / energy).std() / math.sqrt(count)
    spread = float(electron_table("CdTe").spread_at_mm(torch.tensor(energy, dtype=torch.float64)))
    assert 3 * spread**2 == pytest.approx(found, abs=4 * sigma + 0.02 * found)


def turned(way, cosine, rng):
    """Unit vectors at an angle to others, any azimuth."""
    helper = np.where(np.abs(way[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(way, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    azimuth = rng.uniform(0, 2 * math.pi, len(way))[:, None]
    aside = np.cos(azimuth) * across + np.sin(azimuth) * np.cross(way, across)
    new = cosine[:, None] * way + np.sqrt((1 - cosine**2).clip(0))[:, None] * aside
    return new / np.linalg.norm(new, axis=1, keepdims=True)


def test_spread_grows_with_energy():
    """From less than 1 um at 20 keV to a good fraction of the range; 0 where there is no electron."""
    table = electron_table("CdTe")
    spread = table.spread_at_mm(torch.tensor([0.0, 20.0, 100.0, 400.0], dtype=torch.float64))
    assert (spread.diff() > 0).all()
    assert float(spread[0]) < 1e-4
    assert float(spread[1]) < 1e-3
