"""OSEM on coarse voxels: its EM update by hand, and its interpolation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import CoarseOsem
from hspi_learn.classical.coarse_osem import block_mean, interpolated
from hspi_learn.reconstructor import scan_context
from tests.hspi_learn.conftest import dense_model


@pytest.fixture
def even_model64() -> HyperspectralForwardModel:
    """On a grid of 4 x 4 x 6 voxels."""
    return dense_model(1e-6, torch.float64, shape=(4, 4, 6))


def test_one_update_is_em_of_the_coarse_grid(even_model64: HyperspectralForwardModel) -> None:
    """One iteration of one subset, all voxels body: x_c n_c / s_c with A U as an explicit matrix, 1e-9."""
    model, shape = even_model64, even_model64.grid.shape
    density = torch.ones(1, *shape, dtype=torch.float64)
    context = scan_context(model, density, torch.tensor([50.0], dtype=torch.float64))
    maps, voxels = len(model.groups.names), density[0].numel()
    basis = torch.eye(maps * voxels, dtype=torch.float64).reshape(-1, maps, *shape)
    state = context.attenuation
    columns = torch.stack([model.project(one[None], state)[0].flatten() for one in basis], dim=1)  # A
    generator = torch.Generator().manual_seed(0)
    activity = 20 * torch.rand(1, maps, *shape, generator=generator, dtype=torch.float64)
    counts = torch.poisson(model.expected_counts(activity, state, 50.0), generator=generator)

    sensitivity = columns.sum(0)
    start = counts.sum() / (50.0 * sensitivity.sum())
    background = model.background_rate().flatten()
    ratio = counts.flatten() / (50.0 * (columns.sum(1) * start + background))
    back = 50.0 * columns.T @ ratio

    def summed(values: Tensor) -> Tensor:
        return 8 * block_mean(values.reshape(1, maps, *shape))

    wanted = start * summed(back) / summed(50.0 * sensitivity)
    method = CoarseOsem(model, iterations=1, subsets=1)
    found = next(iter(super(CoarseOsem, method).iterates(counts, context, 1)))
    torch.testing.assert_close(found, interpolated(wanted, context.body), rtol=1e-9, atol=1e-12)


def test_interpolation_is_trilinear_and_keeps_activity() -> None:
    """Along z: thirds of 3/4 and 1/4 between coarse centres (hand), the first half voxel held; sums stay."""
    line = torch.tensor([4.0, 4.0, 8.0, 8.0])
    image = line[None, None, :, None, None].expand(1, 1, 4, 2, 2)
    body = torch.ones(1, 1, 4, 2, 2, dtype=torch.bool)
    found = interpolated(image, body)
    torch.testing.assert_close(found[0, 0, :, 0, 0], torch.tensor([4.0, 5.0, 7.0, 8.0]))
    body[:, :, 0] = False
    cut = interpolated(image * body, body)
    assert float(cut[:, :, 0].abs().max()) == 0
    torch.testing.assert_close(cut.sum(), (image * body).sum())
