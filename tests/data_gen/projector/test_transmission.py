"""Attenuation from voxels to apertures: exact paths through a box of water and through a Gaussian body."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.projector.transmission import ApertureTransmission

APERTURES_MM = torch.tensor(
    [[0.0, 0.0, 40.0], [30.0, -4.0, 3.0], [-21.0, 22.0, 1.0], [2.0, -19.0, 15.0]], dtype=torch.float64
)
"""Above the grid, beside it, at 45 degrees between two axes, and near it and oblique, (x, y, z)."""

PER_DENSITY = torch.tensor([[0.02, 0.01, 0.005], [0.05, 0.02, 0.006]])
"""Mass attenuation of two tissues at three energies, 1/mm per g/cm3."""


def _drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def transmission() -> ApertureTransmission:
    return ApertureTransmission(APERTURES_MM, PER_DENSITY, VoxelGrid((5, 6, 4), 2.0))


@pytest.mark.parametrize("held", [(0, 1), (1,), ()])
def test_a_gradient_changes_no_value(transmission: ApertureTransmission, held: tuple[int, ...]) -> None:
    """With a gradient asked for and without, the same bits, whichever tissues the objects hold."""
    density = torch.zeros(3, 2, 5, 6, 4)
    for tissue in held:
        density[:, tissue] = _drawn(3, 5, 6, 4)
    mirrors = ((), (-1,), (-2, -3))
    plain = transmission(density, mirrors)
    asked = transmission(density.clone().requires_grad_(), mirrors)
    assert asked.requires_grad
    torch.testing.assert_close(plain, asked.detach(), rtol=0, atol=0)


def test_gradient(transmission: ApertureTransmission) -> None:
    """With respect to the density, against finite differences."""
    density = _drawn(1, 2, 5, 6, 4).double().requires_grad_()
    some = torch.arange(0, 4 * 5 * 6 * 4, 37)
    assert torch.autograd.gradcheck(lambda d: transmission(d).movedim(1, -1).reshape(-1, 3)[some], density)


@pytest.mark.parametrize(("stride", "tolerance"), [(1, 1e-5), (2, 1e-3)])
def test_water_of_one_density(stride: int, tolerance: float) -> None:
    """exp(-mu L), L the way on the line to the aperture, from a voxel to the face above it; 10 mm high.

    Exact where every voxel is traced.
    """
    grid = VoxelGrid((5, 12, 11), 2.0)
    through = ApertureTransmission(APERTURES_MM[:1], PER_DENSITY[1:], grid, stride)(
        torch.full((1, 1, 5, 12, 11), 1.1)
    )
    y, x = grid.axis_mm(1)[7], grid.axis_mm(2)[6]
    for z, plane in zip(grid.axis_mm(0).tolist(), through.reshape(3, 5, 12, 11).unbind(1), strict=True):
        slant = math.sqrt(1 + float(x**2 + y**2) / (40 - z) ** 2)
        expected = torch.exp(-PER_DENSITY[1] * 1.1 * (5.0 - z) * slant)
        torch.testing.assert_close(plane[:, 7, 6], expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("aperture", range(4))
@pytest.mark.parametrize(("stride", "tolerance"), [(1, 0.025), (2, 0.095)])
def test_gaussian_body(aperture: int, stride: int, tolerance: float) -> None:
    """Density exp(-r2 / 2 s2), s = 3 mm: the path is a Gaussian of the distance at which the line passes
    the centre times an error function. Tolerances are shares of the longest path: linear interpolation
    over a step h errs by h2 / 8 s2, along the two axes of a plane and, with a stride, along all three.
    """
    grid, s = VoxelGrid((19, 20, 21), (1.0, 1.1, 0.9)), 3.0
    centre = grid.centres_mm()
    density = torch.exp(-centre.square().sum(-1) / (2 * s**2))
    place = APERTURES_MM[aperture : aperture + 1]
    found = ApertureTransmission(place, torch.tensor([[0.05]]), grid, stride)(density[None, None])
    path = -found[0, 0, 0, :, 0].log() / 0.05
    way = place - centre.reshape(-1, 3)
    way = way / way.norm(dim=1, keepdim=True)
    nearest = -(centre.reshape(-1, 3) * way).sum(1)  # mm from the voxel to the point nearest to the centre
    passing = centre.reshape(-1, 3).square().sum(1) - nearest.square()
    beyond = 0.5 * torch.erfc(-nearest / (s * math.sqrt(2)))
    expected = s * math.sqrt(2 * math.pi) * torch.exp(-passing / (2 * s**2)) * beyond
    assert float((path - expected).abs().max()) < tolerance * float(expected.max())


def test_an_aperture_inside_the_grid_is_refused() -> None:
    inside = torch.tensor([[3.0, -5.0, 4.0]], dtype=torch.float64)
    with pytest.raises(UserError, match=r"\(3, -5, 4\) mm, lies inside the grid of 8 x 12 x 10 mm"):
        ApertureTransmission(inside, PER_DENSITY, VoxelGrid((5, 6, 4), 2.0))
