"""Events in the crystal against sums, published fractions and photons followed one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.detector import CdTeResponse
from data_gen.detector.cross_sections import crystal_tables
from data_gen.detector.photoelectric import k_paths, spread_points
from data_gen.materials import interaction_probability, linear_attenuation_per_mm

FRACTIONS = {
    1.0: {80: (82.9, 78.2), 154: (28.3, 21.2), 218: (14.8, 8.5), 270: (10.6, 4.8), 351: (7.5, 2.3)},
    2.0: {80: (97.1, 92.8), 154: (48.6, 36.8), 218: (27.5, 15.8), 270: (20.0, 9.1), 440: (11.5, 2.5)},
    5.0: {80: (100.0, 96.1), 154: (81.1, 63.0), 218: (55.2, 32.3), 351: (32.2, 10.2), 440: (26.3, 5.8)},
}
"""Percent interacting and percent photoelectric at first interaction: NIST XCOM, CdTe of 5.85 g/cm3."""


@pytest.mark.parametrize("thickness", FRACTIONS)
def test_interaction_fractions(thickness):
    """Figures from NIST's cross sections to 1 % and half of their last digit.

    "Interacting" counts coherent scatter there; the photoelectric ones are of what deposits energy.
    """
    for energy, (all_of_them, photoelectric) in FRACTIONS[thickness].items():
        total = float(linear_attenuation_per_mm("CdTe", float(energy)))
        depositing = float(interaction_probability("CdTe", float(energy), thickness))
        share = float(crystal_tables("CdTe").photoelectric_share(torch.tensor(float(energy))))
        assert -100 * math.expm1(-total * thickness) == pytest.approx(
            all_of_them, abs=0.05 + 0.01 * all_of_them
        )
        assert 100 * depositing * share == pytest.approx(photoelectric, abs=0.05 + 0.01 * photoelectric)


@settings(max_examples=10, derandomize=True)
@given(energies=st.lists(st.floats(15, 2900), min_size=1, max_size=3))
def test_every_photon_does_something(energies):
    """Probabilities are 0 or more and sum to 1 within 1e-9; no event exceeds the photon's energy."""
    energy = torch.tensor(energies, dtype=torch.float64)
    kinds = CdTeResponse(2.0, 0.25)._events(energy)
    assert torch.stack([kind.probability.sum(1) for kind in kinds]).sum(0).tolist() == pytest.approx(
        [1.0] * len(energies), abs=1e-9
    )
    for kind in kinds:
        assert (kind.probability >= 0).all()
        assert (kind.signal_kev.sum(-1) <= energy[:, None] * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("energy", "least", "most"), [(20.0, 0.0, 0.0), (29.0, 0.2, 0.75), (82.0, 0.70, 0.74)]
)
def test_k_photons_per_absorption(energy, least, most):
    """None below both edges, Cd's alone between them, both above: 0.84 x 0.85 x Cd's share and so on."""
    paths = k_paths("CdTe", torch.tensor([energy], dtype=torch.float64))
    assert float(paths.probability.sum()) == pytest.approx(1, abs=1e-12)
    assert least <= float(paths.probability[0, paths.first_kev > 0].sum()) <= most
    if energy < 31.8:
        assert float(paths.probability[0, paths.first_kev > 27].sum()) == 0


def test_k_escape_falls_with_the_block():
    """Published mean free paths 119 um (Cd) and 62 um (Te): hardly any K photon crosses a 1 mm pixel."""
    small, large = (float(CdTeResponse(2.0, pitch).distant(torch.tensor([60.0]))) for pitch in (0.1, 1.0))
    assert small > 0.03
    assert large < 0.012


def test_points_are_even():
    """Means of x, x y and of a corner indicator within 0.3 % of the integrals; all points inside."""
    points = spread_points(4096, 10)
    assert ((points > 0) & (points < 1)).all()
    assert np.allclose(points.mean(0), 0.5, atol=1.5e-3)
    for j in range(1, 10):
        assert float((points[:, 0] * points[:, j]).mean()) == pytest.approx(0.25, abs=1.5e-3)
        assert float(((points[:, 0] < 0.5) & (points[:, j] < 0.5)).double().mean()) == pytest.approx(
            0.25, abs=3e-3
        )
