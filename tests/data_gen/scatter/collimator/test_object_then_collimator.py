"""Compton photons of metal that the object scattered before: as many, and at energies of both scatters."""

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.core.grid import VoxelGrid
from data_gen.scatter.collimator.cross_sections import arrival_edges
from data_gen.scatter.collimator.object_then_collimator import ObjectThenCollimator, ScatterTowardsCollimator
from data_gen.scatter.energy_classes import PARTS, EnergyClasses

ENERGIES = torch.tensor([300.0, 440.0], dtype=torch.float64)
LINES, CLASSES = 2, 24
PLACE = (torch.arange(PARTS, dtype=torch.float64) + 0.5) / PARTS


@pytest.fixture(scope="module")
def again():
    """One channel, block and voxel, as many photons from both references, each in its second class."""
    before = ScatterTowardsCollimator(load_camera("demo_coarse"), VoxelGrid((3, 3, 3), 8.0), ENERGIES)
    arrivals = EnergyClasses.evenly(arrival_edges("tungsten", ENERGIES, CLASSES), LINES)
    matrix = torch.zeros(2, 1, 1, LINES + CLASSES, 1, dtype=torch.float64)
    matrix[:, :, :, LINES + 1] = 1.0
    return ObjectThenCollimator(before, arrivals, matrix), before, arrivals


def test_as_many_photons_at_energies_of_both_scatters(again):
    """Truth: Compton scatter adds (1 - cos)/511 to 1/E, so the mean of 1/E over what arrives is that after
    the object plus what metal adds; within 2 % of it, as classes are wide. None is lost, 1e-12."""
    seen, before, arrivals = again
    for g, h in ((1, 1), (1, 0), (0, 0)):
        scattered = torch.zeros(2, 2, 1, 1, dtype=torch.float64)
        scattered[g, h] = 1.0
        found = seen.forward(scattered, torch.ones(2, 1, 1, dtype=torch.float64))[0, 0, g, :, 0]
        assert float(found.sum()) == pytest.approx(1.0, rel=1e-12)
        turned = before.turned[g, :, h]
        left = float((turned / before.scattered_kev[g]).sum() / turned.sum())
        low, high = arrivals.kev[h, LINES + 1].tolist()
        added = float((1 / (low + (high - low) * PLACE)).mean()) - 1 / float(ENERGIES[h])
        mean = float((found / arrivals.kev[g].mean(dim=-1)).sum())
        assert mean == pytest.approx(left + added, rel=0.02)


def test_what_no_scatter_reaches_is_not_fed(again):
    """Photons of 300 keV are never references of 440 keV."""
    seen, before, _ = again
    assert float(before.turned[0, :, 1].abs().max()) == 0
    assert [fed.tolist() for fed in seen.fed] == [[0, 1], [1]]
