"""A small forward model around a dense random projector: learning is tested without ray tracing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import MemberGroups, decay_chain
from data_gen.projector.projector import Projector

SHAPE = (4, 5, 6)
PIXELS = 48
MAPS = {"ac225": ["Ac-225", "Fr-221"], "bi213": ["Bi-213"]}


class DenseProjector:
    """G as a dense random matrix [g, pixel, voxel]; an object only weakens each voxel by exp(-density)."""

    def __init__(self, matrix: Tensor, grid: VoxelGrid, energies_kev: Tensor) -> None:
        self.matrix, self.grid, self.energies_kev = matrix, grid, energies_kev
        self.pixels = matrix.shape[1]

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        return torch.exp(-density)

    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        weakened = (activity * attenuation[:, None]).flatten(2)
        return torch.einsum("gpv,bmv->bpgm", self.matrix, weakened)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        maps = torch.einsum("gpv,bpgm->bmv", self.matrix, values)
        return maps.reshape(*maps.shape[:2], *self.grid.shape) * attenuation[:, None]

    def subset(self, pixels: Tensor) -> Projector:
        return DenseProjector(self.matrix[:, pixels], self.grid, self.energies_kev)


class Sharing:
    """A response of made-up numbers in which the right neighbour records a fifth of the charge."""

    offsets = ((0, 0), (0, 1))

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        centre = (edges_kev[1:] + edges_kev[:-1]) / 2
        peak = torch.exp(-(((centre - energy_kev[:, None]) / 40) ** 2)) + 0.05
        peak = peak / peak.sum(dim=1, keepdim=True)
        return torch.stack((0.7 * peak, 0.2 * peak))


def dense_model(
    background_cps_per_kev: float,
    dtype: torch.dtype,
    live: Tensor | None = None,
    gain: Tensor | None = None,
    maps: Mapping[str, Sequence[str]] = MAPS,
    shape: tuple[int, int, int] = SHAPE,
) -> HyperspectralForwardModel:
    """Ac-225 and Bi-213 maps on a grid of 2 mm, 48 pixels in rows of 8, three windows.

    ``gain`` is a factor on how much is seen of each voxel, [z, y, x] or [pixel, z, y, x].
    """
    seen = 1.0 if gain is None else gain.reshape(-1, math.prod(shape))
    generator = torch.Generator().manual_seed(3)
    grid = VoxelGrid(shape, 2.0)
    chain = decay_chain("Ac-225")
    column = torch.arange(PIXELS) % 8
    neighbour = torch.where(column < 7, torch.arange(PIXELS) + 1, -1)
    spec = SimpleNamespace(
        panels=SimpleNamespace(detector_mm=38.0),
        collimator=SimpleNamespace(plane_mm=28.0, plate_mm=8.0, septa=False),
        detector=SimpleNamespace(rows=6, columns=8, pitch_mm=2.0),
    )
    camera = SimpleNamespace(
        spec=spec,
        pixel_count=PIXELS,
        panels=1,
        aperture_count=12,
        pixel_panel=torch.zeros(PIXELS, dtype=torch.int64),
        pairs=torch.stack((torch.arange(PIXELS), torch.arange(PIXELS) // 4), dim=1),
        collimator_material="tungsten",
        plate_mm=8.0,
        aperture_diameter_mm=torch.full((12,), 0.5),
        aperture_opening=torch.full((12, 2), 0.5),
        detector_material="CdTe",
        detector_thickness_mm=2.0,
        response=Sharing(),
        background_cps_per_kev=background_cps_per_kev,
        time_fraction=torch.ones(PIXELS, dtype=torch.float64),
        neighbours=lambda offset: torch.arange(PIXELS) if offset == (0, 0) else neighbour,
    )

    def projector(_camera: object, grid: VoxelGrid, energies_kev: Tensor) -> Projector:
        sparse = torch.rand(len(energies_kev), PIXELS, grid.voxels, generator=generator, dtype=torch.float64)
        return DenseProjector((1e-2 * seen * sparse**6).to(dtype), grid, energies_kev)

    groups = MemberGroups(chain, maps)
    windows = EnergyWindows([60.0, 150.0, 300.0, 500.0])
    options = ModelOptions(reference_energies=4, scatter_terms=())
    return HyperspectralForwardModel(camera, chain, grid, windows, groups, options, projector, live)


@pytest.fixture(autouse=True)
def in_training_mode(request: pytest.FixtureRequest) -> None:
    """Models are shared by all tests: a task that was set to evaluation took its model with it."""
    for name in ("model32", "model64", "silent_model32", "silent_model64"):
        if name in request.fixturenames:
            request.getfixturevalue(name).train()


@pytest.fixture(scope="session")
def model64() -> HyperspectralForwardModel:
    """In double precision, with background."""
    return dense_model(1e-6, torch.float64)


@pytest.fixture(scope="session")
def model32() -> HyperspectralForwardModel:
    """In single precision, with background."""
    return dense_model(1e-6, torch.float32)


@pytest.fixture(scope="session")
def silent_model64() -> HyperspectralForwardModel:
    """In double precision, without background."""
    return dense_model(0.0, torch.float64)


@pytest.fixture(scope="session")
def silent_model32() -> HyperspectralForwardModel:
    """In single precision, without background."""
    return dense_model(0.0, torch.float32)


@pytest.fixture(scope="session")
def density() -> Tensor:
    """Water in the inner voxels, air outside, [2, z, y, x] float64."""
    body = torch.zeros(2, *SHAPE, dtype=torch.float64)
    body[:, 1:-1, 1:-1, 1:-1] = 1.0
    body[1, :, 2, 2] = 1.0
    return body
