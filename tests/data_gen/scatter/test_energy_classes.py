"""How classes of arrival energies are filled."""

from __future__ import annotations

import numpy as np
import torch
import xraylib

from data_gen.materials import material_named
from data_gen.scatter.differential_cross_sections import ELECTRON_KEV, arrival_classes, compton_filling
from data_gen.scatter.energy_classes import PARTS, EnergyClasses, edges_of_parts, shares_of_parts


def test_parts_of_adjoining_classes():
    """Edges rise from the lowest class to the highest in equal steps within each, and end with the edges."""
    falling = torch.tensor([[300.0, 420.0], [60.0, 300.0]], dtype=torch.float64)
    edges = edges_of_parts(falling)
    expected = torch.cat((60 + 20.0 * torch.arange(PARTS), 300 + 10.0 * torch.arange(PARTS + 1)))
    torch.testing.assert_close(edges, expected.double(), rtol=1e-12, atol=0)


def test_shares_sum_to_one():
    """Also of classes that nothing comes to, which are even."""
    photons = torch.zeros(2, PARTS, dtype=torch.float64)
    photons[0, 3], photons[0, 4] = 3.0, 1.0
    shares = shares_of_parts(photons)
    assert shares[0, 3:5].tolist() == [0.75, 0.25]
    torch.testing.assert_close(shares[1], EnergyClasses.evenly(torch.zeros(1, 1, 2)).filling[0, 0])


def test_single_scatter_fills_classes_by_its_law():
    """Cumulated over all classes: photons turned by 40,000 even angles, by Klein and Nishina with xraylib's
    incoherent scattering function. 0.5 % of all photons."""
    energy = torch.tensor([440.0], dtype=torch.float64)
    classes = arrival_classes(energy, 8)
    angle = (np.arange(40_000) + 0.5) * np.pi / 40_000
    law = np.zeros_like(angle)
    for z, share in material_named("soft_tissue").mass_fractions:
        law += share * np.array([xraylib.DCS_Compt(z, 440.0, max(a, 0.003)) for a in angle]) * np.sin(angle)
    arrives = 440.0 / (1 + 440.0 / ELECTRON_KEV * (1 - np.cos(angle)))
    edges = edges_of_parts(classes[0, 1:]).numpy()
    truth = np.histogram(arrives, edges, weights=law)[0]
    by_class = truth.reshape(-1, PARTS).sum(1, keepdims=True)[::-1]
    found = (compton_filling(energy, classes)[0, 1:].numpy() * by_class)[::-1].ravel()
    off = np.abs(found.cumsum() - truth.cumsum()).max() / truth.sum()
    assert off < 0.005
