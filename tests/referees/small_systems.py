"""An imaging system with every term of the default model, as coarse as tests of where tensors lie need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from referees.small_cameras import lofts
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from data_gen.scatter.collimator import CollimatorSampling

GRID = VoxelGrid((4, 5, 6), 4.5)
FEW = CollimatorSampling(
    voxel_mm=9.0,
    open_rays=2,
    plate_rays=3,
    steps=5,
    interactions=9,
    walks=6,
    seen=8,
    k_stops=8,
    out_steps=6,
    classes=3,
)


@contextmanager
def few_collimator_photons() -> Iterator[None]:
    """Meanwhile, scatter in the collimator is followed along a few rays.

    It has the shapes of the default, not its numbers, and takes no time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_gen.scatter.collimator.term.CollimatorSampling", lambda: FEW)
        yield


@contextmanager
def small_system(folder: Path) -> Iterator[ImagingSystem]:
    """One panel of 2x2 apertures before 8x8 pixels, Pb-212 in 4x5x6 voxels; matrices lie in ``folder``.

    While it is in use, scatter in the collimator is followed along a few rays.
    """
    description = lofts().to_dict()
    description["detector"] |= {"response": {"kind": "gaussian", "fwhm_kev": 5.0}}
    description["detector"] |= {"background_cps_per_kev": 1e-4}
    with pytest.MonkeyPatch.context() as patch, few_collimator_photons():
        patch.setenv("HSPI_CACHE_DIR", str(folder))
        yield ImagingSystem(
            Camera.from_dict(description),
            decay_chain("Pb-212"),
            GRID,
            EnergyBins(20, 600, 29),
            options=ModelOptions(reference_energies=2, scatter_voxel_mm=9.0),
        )


def small_scene(maps: int) -> tuple[Tensor, Tensor]:
    """Activity [2, map, z, y, x] in Bq per voxel and density [2, z, y, x] in g/cm3, air at the border."""
    drawn = torch.rand(2, maps, *GRID.shape, generator=torch.Generator().manual_seed(0))
    density = torch.zeros(2, *GRID.shape)
    density[:, 1:-1, 1:-1, 1:-1] = 1.0
    density[1, 2] = 1.8
    return 1e4 * drawn * (density[:, None] > 0), density
