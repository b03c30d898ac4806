"""Photons that an object scatters before they come to metal: as many as it scatters, none in vacuum."""

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.core.grid import VoxelGrid
from data_gen.materials import TISSUES, density_g_cm3, linear_attenuation_per_mm, process_mass_attenuation
from data_gen.scatter.collimator.object_then_collimator import Scatterers, ScatterTowardsCollimator

GRID, ENERGIES = VoxelGrid((9, 9, 9), 4.0), torch.tensor([80.0, 218.0, 440.0], dtype=torch.float64)


def tissues(density):
    """A cube of soft tissue, [batch, tissue, z, y, x]."""
    cube = torch.zeros(1, len(TISSUES), *GRID.shape, dtype=torch.float64)
    cube[:, TISSUES.index("soft_tissue")] = density
    return cube


@pytest.fixture(scope="module")
def before():
    return ScatterTowardsCollimator(load_camera("demo_coarse"), GRID, ENERGIES)


def test_as_many_as_a_cube_scatters(before):
    """Truth: of photons from the middle of a cube, (1 - exp(-mu L)) sigma / mu is scattered first, over even
    directions with L to its faces, sigma of Compton and Rayleigh scatter (xraylib); within 4 %, as voxels are
    coarse."""
    source = torch.zeros(1, GRID.voxels, dtype=torch.float64)
    source[0, GRID.voxels // 2] = 1.0
    kept = Scatterers(*(part[0] for part in before.of(tissues(1.0))))
    found = before.sources(source, kept).sum(dim=(1, 2, 3))
    way = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    length = 18.0 / (way / way.norm(dim=1, keepdim=True)).abs().amax(dim=1)
    for energy, seen in zip(ENERGIES.tolist(), found.tolist(), strict=True):
        at = torch.tensor([energy], dtype=torch.float64)
        mu = float(linear_attenuation_per_mm("soft_tissue", energy)) / density_g_cm3("soft_tissue")
        scatter = sum(float(process_mass_attenuation("soft_tissue", at, p)) for p in ("compton", "rayleigh"))
        expected = float(-torch.expm1(-mu * length).mean()) * scatter / 10 / mu
        assert seen == pytest.approx(expected, rel=0.04)


def test_vacuum_scatters_nothing(before):
    """Nothing at all, exactly."""
    kept = before.of(tissues(0.0))
    assert float(kept.rate.abs().max()) == 0.0
