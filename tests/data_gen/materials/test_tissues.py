"""Tissues told from density."""

import pytest
import torch

from data_gen.materials import (
    MATERIALS,
    TISSUES,
    density_g_cm3,
    mass_attenuation,
    tissue_from_density,
    tissue_mass_attenuation,
)


@pytest.mark.parametrize("tissue", TISSUES)
def test_each_tissue_is_told_from_its_own_density(tissue):
    assert TISSUES[int(tissue_from_density(torch.tensor(density_g_cm3(tissue))))] == tissue


def test_tissues_rise_with_density():
    """More density never means a lighter tissue; int64 of the same shape."""
    tissue = tissue_from_density(torch.linspace(0, 3, 301).reshape(7, 43))
    assert tissue.dtype == torch.int64
    assert tissue.shape == (7, 43)
    assert (tissue.flatten().diff() >= 0).all()
    assert set(tissue.flatten().tolist()) == {0, 1, 2, 3}


def test_table_holds_every_tissue():
    energies = torch.tensor([82.0, 218.0])
    table = tissue_mass_attenuation(energies)
    assert table.shape == (4, 2)
    assert torch.equal(table[3], mass_attenuation("cortical_bone", energies))


@pytest.mark.parametrize("material", MATERIALS.values(), ids=MATERIALS)
def test_compositions_are_whole(material):
    """Mass fractions sum to 1 within 1e-9."""
    assert sum(share for _, share in material.mass_fractions) == pytest.approx(1, abs=1e-9)
    assert material.density_g_cm3 > 0
