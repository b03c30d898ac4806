"""Attenuation from voxels to apertures: two ways to the same sums, and exact paths through a uniform box."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.grid import VoxelGrid
from data_gen.projector.transmission import ApertureTransmission, line_sums


def _drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_line_sums_have_the_bits_of_grid_sample(dtype: torch.dtype) -> None:
    """The sparse product rounds as torch's sampler does, so that kept data sets keep their bytes."""
    volumes = _drawn(5, 3, 4, 6, dtype=dtype)
    point = 1.999 * _drawn(300, 7, 3, dtype=dtype) - 0.9995
    sampled = functional.grid_sample(
        volumes[None], point[None, None], padding_mode="zeros", align_corners=False
    )
    torch.testing.assert_close(line_sums(volumes, point), sampled[0, :, 0].sum(-1), rtol=0, atol=0)


@pytest.fixture
def transmission() -> ApertureTransmission:
    """To two apertures, of two tissues at three energies."""
    aperture_mm = torch.tensor([[0.0, 0.0, 40.0], [30.0, -4.0, 3.0]], dtype=torch.float64)
    per_density = torch.tensor([[0.02, 0.01, 0.005], [0.05, 0.02, 0.006]])
    return ApertureTransmission(aperture_mm, per_density, VoxelGrid((5, 6, 4), 2.0))


@pytest.mark.parametrize("held", [(0, 1), (1,), ()])
def test_a_gradient_changes_no_value(transmission: ApertureTransmission, held: tuple[int, ...]) -> None:
    """With a gradient asked for and without, the same bits, whichever tissues the objects hold."""
    density = torch.zeros(3, 2, 5, 6, 4)
    for tissue in held:
        density[:, tissue] = _drawn(3, 5, 6, 4, dtype=torch.float32)
    mirrors = ((), (-1,), (-2, -3))
    plain = transmission(density, mirrors)
    asked = transmission(density.clone().requires_grad_(), mirrors)
    assert asked.requires_grad
    torch.testing.assert_close(plain, asked.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kept_samples_change_no_value(
    transmission: ApertureTransmission, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects one after another, by samples that the first one left, and with none kept: the same bits."""
    objects = _drawn(2, 1, 2, 5, 6, 4, dtype=dtype)
    kept = [transmission(one, ((), (-1,))) for one in objects]
    assert not torch.equal(kept[0], kept[1])
    monkeypatch.setattr("data_gen.projector.transmission.MOST_KEPT_BYTES", 0)
    for one, before in zip(objects, kept, strict=True):
        torch.testing.assert_close(transmission(one, ((), (-1,))), before, rtol=0, atol=0)


def test_water_of_one_density(transmission: ApertureTransmission) -> None:
    """exp(-mu L) with L the way from the voxel to the face above it: 10 mm high, aperture far above.

    Points next to the face see half of it (the density falls to 0 outside), hence 0.6 mm of tolerance.
    """
    density = torch.zeros(1, 2, 5, 6, 4)
    density[:, 1] = 1.1
    through = transmission(density)[0, :, 0, :, 0].reshape(3, 5, 6, 4)
    z = VoxelGrid((5, 6, 4), 2.0).axis_mm(0)
    middle = through[0, :, 3, 2].double()
    path = -middle.log() / (0.05 * 1.1)
    for height, length in zip(z.tolist(), path.tolist(), strict=True):
        assert math.isclose(length, 5.0 - height, abs_tol=0.6)
