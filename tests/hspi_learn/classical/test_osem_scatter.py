"""OSEM of counts with leakage and scatter, which it models but does not back-project."""

from __future__ import annotations

import pytest
import torch

from data_gen.core.events import EventList
from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.projector import RaySampling
from hspi_learn.classical import Osem
from hspi_learn.reconstructor import ScanContext, scan_context

GRID = VoxelGrid((4, 4, 4), 4.0)


@pytest.fixture(scope="module")
def scene(tiny_system: ImagingSystem) -> tuple[HyperspectralForwardModel, torch.Tensor, ScanContext]:
    """A model with leakage and object scatter, a smooth activity, and its context."""
    chain = decay_chain("Pb-212")
    model = HyperspectralForwardModel(
        tiny_system.camera,
        chain,
        GRID,
        EnergyWindows([60, 100, 220, 260, 600]),
        tied_groups(chain),
        ModelOptions(3, ("leakage", "object_scatter"), ray_sampling=RaySampling(24, 4), projector="ray"),
    )
    generator = torch.Generator().manual_seed(0)
    activity = 1e5 * (0.5 + torch.rand(1, len(model.groups.names), *GRID.shape, generator=generator))
    return model, activity, scan_context(model, torch.ones(1, *GRID.shape), torch.tensor([600.0]))


def test_truth_is_a_fixed_point(scene):
    """Noise-free counts, leakage and scatter among them, leave the truth where it is (1e-4 a voxel)."""
    model, truth, context = scene
    counts = model.expected_counts(truth, context.attenuation, context.duration_s)
    assert float(counts.sum()) > 1.1 * float(
        model.primary.expected_counts(truth, context.attenuation, context.duration_s).sum()
    )
    osem = Osem(model, iterations=1, subsets=2)
    table = model.blocks.table(truth, context.attenuation.blocks)
    for part in osem.histogram_rows(counts):
        ratio = part.back_projected_ratio(truth, context, table)
        sensitivity = part.model.sensitivity(context.attenuation)
        seen = sensitivity > 1e-3 * sensitivity.max()
        torch.testing.assert_close(ratio[seen], sensitivity[seen], rtol=1e-4, atol=0)


@pytest.mark.slow
def test_events_equal_histogram(scene):
    """Events with the weights of a histogram's cells give its image (1e-4)."""
    model, truth, context = scene
    counts = model.expected_counts(truth, context.attenuation, context.duration_s)
    pixel, window = counts[0].nonzero(as_tuple=True)
    energy = (model.energy_bins.edges_kev[window] + 1.0).float()
    events = EventList(pixel, energy, torch.zeros(len(pixel), dtype=torch.float64), counts[0, pixel, window])
    osem = Osem(model, iterations=2, subsets=2)
    one, other = osem.reconstruct(counts, context), osem.reconstruct_events(events, context)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * float(one.max()))
