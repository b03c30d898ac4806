"""Networks: shapes on any grid, the physics image as starting point, gradients, finite extremes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator

SMALL = {"channels": (8, 8, 8), "strides": (1, 2), "residual_units": 1}


@settings(max_examples=8)
@given(shape=st.tuples(*[st.integers(2, 9)] * 3), maps=st.integers(1, 3))
def test_any_grid_keeps_its_shape(shape: tuple[int, int, int], maps: int) -> None:
    """Odd and tiny grids are padded inside and cropped again; no activity is negative."""
    initial = torch.rand(2, maps, *shape)
    density = torch.rand(2, 1, *shape)
    estimate = CorrectionUNet(maps, **SMALL)(initial, density)
    assert estimate.shape == initial.shape
    assert bool((estimate >= 0).all())
    scores = PatchDiscriminator(maps, channels=4)(estimate, initial, density)
    assert scores.shape[:2] == (2, 1)


def test_untrained_generator_returns_the_physics_image() -> None:
    """Zero-initialised head: within the softplus's rounding of 0.08 at zero, 1e-3 from activity 1 on."""
    initial = torch.tensor([0.0, 1.0, 3.0, 50.0]).repeat(16).reshape(1, 1, 4, 4, 4)
    estimate = CorrectionUNet(1, **SMALL)(initial, torch.ones_like(initial))
    assert float((estimate - initial).detach().abs().max()) < 0.08
    busy = initial >= 1
    torch.testing.assert_close(estimate[busy], initial[busy], rtol=1e-3, atol=0)


def test_extreme_images_stay_finite() -> None:
    """A voxel of 1e6 times the mean gives finite estimates and gradients."""
    initial = torch.ones(1, 2, 4, 4, 4)
    initial[0, 0, 1, 1, 1] = 1e6
    initial.requires_grad_()
    estimate = CorrectionUNet(2, **SMALL)(initial, torch.ones(1, 1, 4, 4, 4))
    estimate.sum().backward()
    assert bool(torch.isfinite(estimate).all())
    assert initial.grad is not None
    assert bool(torch.isfinite(initial.grad).all())


def test_scans_of_a_batch_do_not_mix() -> None:
    """No statistics over the batch: a scan's estimate is the same alone and among others, to 1e-4."""
    network = CorrectionUNet(1, **SMALL)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    initial, density = torch.rand(2, 3, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0)).unbind()
    alone = network(initial[1:2], density[1:2])
    torch.testing.assert_close(network(initial, density)[1:2], alone, rtol=1e-4, atol=1e-5)


def test_wrong_strides_are_told() -> None:
    with pytest.raises(UserError, match=r"generator\.strides.*3 channels need 2"):
        CorrectionUNet(1, channels=(8, 8, 8), strides=(2,))
