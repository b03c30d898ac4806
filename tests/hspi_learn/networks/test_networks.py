"""Networks: shapes on any grid, the physics image as starting point, gradients, finite extremes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from hspi_learn.networks import CorrectionUNet, MultiScaleCritic, PatchDiscriminator, SegmentationUNet

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


@settings(max_examples=8)
@given(shape=st.tuples(*[st.integers(2, 9)] * 3), maps=st.integers(1, 3), classes=st.integers(2, 4))
def test_segmentations_of_any_grid(shape: tuple[int, int, int], maps: int, classes: int) -> None:
    """Logits of each class on the grid as it is, and a critic's scales, halved from one to the next."""
    initial, density = torch.rand(2, maps, *shape), torch.rand(2, 1, *shape)
    logits = SegmentationUNet(maps, classes, **SMALL)(initial, density)
    assert logits.shape == (2, classes, *shape)
    scales = MultiScaleCritic(maps, classes, channels=4, layers=2)(logits.softmax(1), initial, density)
    halves = [tuple((n - 1) // 2**k + 1 for n in shape) for k in range(3)]
    assert [tuple(scale.shape[2:]) for scale in scales] == halves


def test_a_critic_sees_what_each_class_masks() -> None:
    """The first scale is log1p of the image, the density and 1, times each mask; the next one, of a kernel
    that sums 3 x 3 x 3 voxels, has that of half the voxels, negative values at a fifth."""
    critic = MultiScaleCritic(1, 2, channels=1, layers=1)
    torch.nn.init.ones_(critic.layers[0].weight)
    torch.nn.init.constant_(critic.layers[0].bias, -35.0)
    initial, density = torch.full((1, 1, 2, 2, 2), 3.0), torch.full((1, 1, 2, 2, 2), 1.5)
    mask = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2)
    fine, coarse = critic(mask, initial, density)
    seen = [math.log(4), 1.5, 1.0]
    wanted = [share * value for share in (0.25, 0.75) for value in seen]
    torch.testing.assert_close(fine[0, :, 0, 0, 0], torch.tensor(wanted))
    assert float(coarse[0, 0, 0, 0, 0].detach()) == pytest.approx(0.2 * (8 * sum(seen) - 35), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strides": (1,)}, r"network\.strides.*3 channels need 2"),
        ({"residual_units": -1}, r"network\.residual_units is -1"),
        ({"dropout": 1.0}, r"network\.dropout is 1\.0"),
    ],
)
def test_wrong_segmentation_networks_are_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        SegmentationUNet(1, 2, **{**SMALL, **changes})
    with pytest.raises(UserError, match=r"critic\.layers is 9"):
        MultiScaleCritic(1, 2, layers=9)
