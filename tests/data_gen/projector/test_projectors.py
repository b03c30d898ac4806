"""Both projectors and the whole forward model against their contract and against each other."""

from __future__ import annotations

from functools import partial
from typing import cast

import pytest
import torch
from contracts.projector_contract import Case, ProjectorContract
from referees.small_cameras import lofts
from referees.small_systems import few_collimator_photons

from data_gen.camera import Camera
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.projector.columns import Columns
from data_gen.projector.symmetry import mirror_orbits

ENERGIES = torch.tensor([82.0, 218.0], dtype=torch.float64)
GRID = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))
FEW = RaySampling(rays=12, plate_steps=4)


def small_camera(septa: bool = True, angles_deg: tuple[float, ...] = (0.0, 70.0, 200.0)) -> Camera:
    """Panels, at angles that mirror only in z, of 2x2 apertures and 4x4 pixels."""
    return lofts(angles_deg, septa=septa, pixels=4)


class TestRayProjector(ProjectorContract):
    def case(self, dtype: torch.dtype) -> Case:
        projector = RayProjector(small_camera(), GRID, ENERGIES, sampling=FEW)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


class TestMatrixProjector(ProjectorContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def case(self, dtype: torch.dtype) -> Case:
        projector = MatrixProjector(small_camera(), GRID, ENERGIES, self.folder, sampling=FEW, dtype=dtype)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


class TestMatrixProjectorOnCoarserVoxels(TestMatrixProjector):
    """Energies that penetrate far, on a fine grid: columns are coarser than voxels."""

    def case(self, dtype: torch.dtype) -> Case:
        grid, energies = VoxelGrid((8, 9, 10), 0.5), torch.tensor([218.0, 440.0], dtype=torch.float64)
        projector = MatrixProjector(small_camera(), grid, energies, self.folder, sampling=FEW, dtype=dtype)
        assert cast(Columns, projector.columns[1]).grid.voxels < grid.voxels / 3
        return Case(projector, projector.pixels, shape=(2, 2, *grid.shape), dtype=dtype)


class TestMatrixProjectorWithoutSepta(TestMatrixProjector):
    def case(self, dtype: torch.dtype) -> Case:
        camera = small_camera(septa=False)
        projector = MatrixProjector(camera, GRID, ENERGIES, self.folder, sampling=FEW, dtype=dtype)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


class TestMatrixProjectorOfSymmetricRing(TestMatrixProjector):
    """Eight mirror images of one aperture; subsets at random break the symmetry."""

    def case(self, dtype: torch.dtype) -> Case:
        camera = small_camera(angles_deg=(40.0, 140.0, 220.0, 320.0))
        assert mirror_orbits(camera).aperture.shape == (2, 8)
        projector = MatrixProjector(camera, GRID, ENERGIES, self.folder, sampling=FEW, dtype=dtype)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


class _AsOperator:
    """The whole forward model, seen as a projector."""

    def __init__(self, model: HyperspectralForwardModel) -> None:
        self.model, self.attenuation = model, model.attenuation
        self.forward, self.adjoint = model.project, model.back_project

    def subset(self, pixels: torch.Tensor) -> _AsOperator:
        return _AsOperator(self.model.subset(pixels))


class TestForwardModel(ProjectorContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def case(self, dtype: torch.dtype) -> Case:
        projector = partial(MatrixProjector, cache_dir=self.folder, sampling=FEW, dtype=dtype)
        with few_collimator_photons():
            model = HyperspectralForwardModel(
                small_camera(),
                decay_chain("Pb-212"),
                GRID,
                EnergyBins(20, 600, 7),
                options=ModelOptions(reference_energies=2),
                projector=projector,
            )
        shape = (1, len(model.groups.names), *GRID.shape)
        return Case(_AsOperator(model), model.pixels, shape=shape, dtype=dtype)


@pytest.mark.parametrize("angles_deg", [(0.0, 70.0, 200.0), (40.0, 140.0, 220.0, 320.0)])
def test_matrix_agrees_with_rays(tmp_path, angles_deg):
    """Two ways to the same integrals in a body: within 2 % of the peak, 1 % of the sum."""
    grid = VoxelGrid((10, 12, 11), (2.4, 2.0, 2.2))
    camera = small_camera(angles_deg=angles_deg)
    matrix, ray = MatrixProjector(camera, grid, ENERGIES, tmp_path), RayProjector(camera, grid, ENERGIES)
    activity = torch.zeros(1, 2, *grid.shape)
    activity[0, 0, 3:7, 4:8, 4:7] = 1.0
    activity[0, 1, 7, 3, 8] = 1.0
    density = torch.full((1, *grid.shape), 1.05)
    density[..., :2] = 0.0
    density[:, 4, 5, 6] = 1.8
    one = matrix.forward(activity, matrix.attenuation(density))
    other = ray.forward(activity, ray.attenuation(density))
    peak = other.amax(dim=1, keepdim=True)
    assert float(((one - other).abs() / peak).max()) < 0.02
    torch.testing.assert_close(one.sum(1), other.sum(1), rtol=0.01, atol=0)


@pytest.mark.parametrize("energy_kev", [269.0, 440.0])
def test_coarser_voxels_where_metal_blurs(tmp_path, energy_kev):
    """Against rays through voxels of 0.5 mm: a blob of 1 mm sigma within 8 % of its peak, sums 1 %, with so
    many rays that theirs are known to 0.2 % (256 leave 0.5 %)."""
    grid, energies = VoxelGrid((24, 24, 24), 0.5), torch.tensor([energy_kev], dtype=torch.float64)
    camera = small_camera(angles_deg=(0.0,))
    many = RaySampling(1024)
    matrix = MatrixProjector(camera, grid, energies, tmp_path, many)
    assert cast(Columns, matrix.columns[0]).grid.voxels < grid.voxels / 3
    ray = RayProjector(camera, grid, energies, many)
    middle = torch.tensor((1.1, -0.7, 0.4), dtype=torch.float64)
    activity = torch.exp(-(grid.centres_mm() - middle).square().sum(-1) / 2).float()[None, None]
    density = torch.full((1, *grid.shape), 1.05)
    one = matrix.forward(activity, matrix.attenuation(density))[0, :, 0, 0]
    other = ray.forward(activity, ray.attenuation(density))[0, :, 0, 0]
    assert float((one - other).abs().max()) < 0.08 * float(other.max())
    assert float(one.sum()) == pytest.approx(float(other.sum()), rel=0.01)


def test_mirrors_of_a_subset_are_kept(tmp_path):
    """Whole orbits of apertures stay folded, half orbits by half; values are the same (1e-12)."""
    camera = small_camera(angles_deg=(40.0, 140.0, 220.0, 320.0))
    projector = MatrixProjector(camera, GRID, ENERGIES, tmp_path, sampling=FEW, dtype=torch.float64)
    orbits = mirror_orbits(camera)
    activity = torch.rand(1, 1, *GRID.shape, dtype=torch.float64)
    kept = projector.attenuation(torch.rand(1, *GRID.shape, dtype=torch.float64) + 0.7)
    whole = projector.forward(activity, kept)
    for wanted, columns in ((orbits.aperture[0], 8), (orbits.aperture[:, :4].flatten(), 4)):
        pixels = camera.pairs[torch.isin(camera.pairs[:, 1], wanted), 0]
        part = projector.subset(pixels)
        assert part.views.columns == columns
        torch.testing.assert_close(part.forward(activity, kept), whole[:, pixels], rtol=1e-12, atol=0)
        again = part.subset(torch.arange(0, len(pixels), 3))
        torch.testing.assert_close(again.forward(activity, kept), whole[:, pixels[::3]], rtol=1e-12, atol=0)


def test_dropped_weights_are_few(tmp_path):
    """Sums over pixels change by the share that the projector states, and that is below 0.1 %."""
    camera = small_camera()
    every = MatrixProjector(camera, GRID, ENERGIES, tmp_path, drop_share=0.0, dtype=torch.float64)
    few = MatrixProjector(camera, GRID, ENERGIES, tmp_path, dtype=torch.float64)
    for g, stated in enumerate(few.dropped):
        lost = 1 - _weight(few, g) / _weight(every, g)
        assert lost == pytest.approx(stated, rel=1e-6)
        assert 0 <= lost < 1e-3


def _weight(projector: MatrixProjector, g: int) -> float:
    return float(sum(block.value.sum() for block in projector.matrices[g]))


def test_kept_matrix_is_used_and_a_broken_one_built_again(tmp_path, caplog):
    """A second projector reads the first one's file; a truncated file is replaced, not trusted."""
    first = MatrixProjector(small_camera(), GRID, ENERGIES, tmp_path, sampling=FEW)
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(ENERGIES)
    times = [file.stat().st_mtime_ns for file in files]
    second = MatrixProjector(small_camera(), GRID, ENERGIES, tmp_path, sampling=FEW)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert torch.equal(first.matrices[0][0].value, second.matrices[0][0].value)
    files[0].write_bytes(files[0].read_bytes()[:100])
    third = MatrixProjector(small_camera(), GRID, ENERGIES, tmp_path, sampling=FEW)
    assert "cannot be read" in caplog.text
    assert torch.equal(first.matrices[0][0].value, third.matrices[0][0].value)
    assert sorted(tmp_path.iterdir()) == files
