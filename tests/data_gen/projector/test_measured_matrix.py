"""System matrices in files: ours read back, anyone's checked, each mistake told in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from contracts.projector_contract import Case, ProjectorContract
from referees.small_cameras import lofts
from scipy.sparse import coo_array, csr_array, save_npz

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.detector import GaussianResponse
from data_gen.forward_model import ImagingSystem, ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import (
    MatrixProjector,
    MeasuredMatrix,
    MeasuredMatrixFile,
    RayProjector,
    RaySampling,
    export_matrix,
)
from data_gen.projector.matrix_file import SystemMatrix, read_hdf5

ENERGIES = torch.tensor([82.0, 218.0], dtype=torch.float64)
GRID = VoxelGrid((5, 4, 6), (4.0, 5.0, 4.5))
FEW = RaySampling(rays=12, plate_steps=4)
RING = (40.0, 140.0, 220.0, 320.0)


def camera(septa: bool = True, angles_deg: tuple[float, ...] = (0.0, 70.0, 200.0)) -> Camera:
    return lofts(angles_deg, septa=septa, pixels=4)


def drawn(seen_by: Camera, energies: torch.Tensor = ENERGIES, grid: VoxelGrid = GRID) -> SystemMatrix:
    """A third of all entries, at random."""
    draw = np.random.default_rng(0)
    shape = (seen_by.pixel_count, grid.voxels)
    dense = (draw.random((len(energies), *shape)) * (draw.random((len(energies), *shape)) < 0.3)).astype("f4")
    return SystemMatrix(energies, grid, tuple(csr_array(part) for part in dense))


class TestMeasuredMatrix(ProjectorContract):
    def case(self, dtype: torch.dtype) -> Case:
        projector = MeasuredMatrix(camera(), GRID, ENERGIES, drawn(camera()), dtype=dtype)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


class TestMeasuredMatrixWithoutSepta(ProjectorContract):
    """Pixels that see four apertures each."""

    def case(self, dtype: torch.dtype) -> Case:
        seen_by = camera(septa=False)
        projector = MeasuredMatrix(seen_by, GRID, ENERGIES, drawn(seen_by), dtype=dtype)
        return Case(projector, projector.pixels, shape=(2, 2, *GRID.shape), dtype=dtype)


@pytest.mark.parametrize("septa", [True, False])
def test_a_matrix_in_air_is_applied_as_it_is(septa):
    """Without an object, values are the dense product of the file's matrix (1e-6 of the largest)."""
    seen_by = camera(septa)
    content = drawn(seen_by)
    projector = MeasuredMatrix(seen_by, GRID, ENERGIES, content)
    activity = torch.randn(1, 2, *GRID.shape, generator=torch.Generator().manual_seed(1))
    seen = projector.forward(activity, projector.attenuation(torch.zeros(1, *GRID.shape)))[0]
    dense = torch.stack([torch.from_numpy(matrix.toarray()) for matrix in content.matrices])
    expected = torch.einsum("gpv,mv->pgm", dense, activity[0].flatten(1))
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_an_entry_goes_through_the_aperture_on_its_line():
    """Behind bone that hides aperture 0 alone, only pixels weaken that see a voxel through that aperture."""
    seen_by = camera(septa=False, angles_deg=(0.0,))
    ray = RayProjector(seen_by, GRID, ENERGIES[1:], sampling=RaySampling(64, 4))
    body = torch.full((1, *GRID.shape), 1.6)
    air = torch.zeros_like(body)
    activity = torch.zeros(1, 1, *GRID.shape)
    activity[0, 0, 2, 1, 1] = 1.0
    with torch.no_grad():
        rows = ray.forward(_unit_voxels(), ray.attenuation(air))[0, :, 0]
        content = SystemMatrix(ENERGIES[1:], GRID, (csr_array(rows.numpy()),))
        measured = MeasuredMatrix(seen_by, GRID, ENERGIES[1:], content)
        one = measured.forward(activity, measured.attenuation(body))
        other = ray.forward(activity, ray.attenuation(body))
    assert float((one - other).abs().max()) < 0.05 * float(other.max())
    assert float(one.sum()) == pytest.approx(float(other.sum()), rel=0.03)


def _unit_voxels() -> torch.Tensor:
    """A map for each voxel with 1 Bq in it, [1, map, z, y, x]."""
    return torch.eye(GRID.voxels).reshape(1, GRID.voxels, *GRID.shape)


@pytest.mark.parametrize("angles_deg", [(0.0, 70.0, 200.0), RING])
def test_ours_exported_and_read_back(tmp_path, angles_deg):
    """The same first interactions and the same back-projection in a body (1e-6 of the
    largest), for a camera with mirror images and for one without."""
    seen_by = camera(angles_deg=angles_deg)
    ours = MatrixProjector(seen_by, GRID, ENERGIES, tmp_path, sampling=FEW)
    export_matrix(ours, tmp_path / "matrix.h5")
    back = MeasuredMatrix(seen_by, GRID, ENERGIES, read_hdf5(tmp_path / "matrix.h5"))
    density = torch.rand(1, *GRID.shape, generator=torch.Generator().manual_seed(2)) + 0.3
    activity = torch.rand(1, 2, *GRID.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        first, second = (p.forward(activity, p.attenuation(density)) for p in (ours, back))
        torch.testing.assert_close(second, first, rtol=0, atol=1e-6 * float(first.max()))
        one, two = (p.adjoint(first, p.attenuation(density)) for p in (ours, back))
    torch.testing.assert_close(two, one, rtol=0, atol=1e-6 * float(one.max()))


def test_coarse_columns_are_exported_as_voxels(tmp_path):
    """A matrix whose columns are coarser voxels is written for the voxels of the grid (1e-6)."""
    grid, energies = VoxelGrid((8, 9, 10), 0.5), torch.tensor([440.0], dtype=torch.float64)
    ours = MatrixProjector(camera(), grid, energies, tmp_path, sampling=FEW)
    back = MeasuredMatrix(camera(), grid, energies, export_matrix(ours, tmp_path / "matrix.h5"))
    activity = torch.rand(1, 1, *grid.shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        air = torch.zeros(1, *grid.shape)
        first, second = (p.forward(activity, p.attenuation(air)) for p in (ours, back))
    torch.testing.assert_close(second, first, rtol=0, atol=1e-6 * float(first.max()))


def test_counts_become_first_interactions(tmp_path):
    """A window around the peak of a Gaussian response, 1 SD to each side: entries are divided by 68.27 % of
    the share with full energy, so that the model records the file's counts again (1e-5)."""
    seen_by = replace(camera(), response=GaussianResponse("CdTe", 2.0, 10.0, 218.0, 5.0))
    sigma = 10.0 / (8 * np.log(2)) ** 0.5
    window = (218.0 - sigma, 218.0 + sigma)
    content = drawn(seen_by, ENERGIES[1:])
    save_npz(tmp_path / "counts.npz", content.matrices[0])
    described = {"energy_kev": 218.0, "unit": "counts per photon", "window_kev": window}
    read = MeasuredMatrixFile(str(tmp_path / "counts.npz"), **described).read(seen_by, GRID)
    edges = torch.tensor([0.0, 217.0, *window, 240.0], dtype=torch.float64).sort().values
    at = edges.tolist()
    shares = seen_by.response.kernel(ENERGIES[1:], edges).sum((0, 1))
    recorded = float(shares[at.index(window[0]) : at.index(window[1])].sum())
    assert recorded < 0.6827
    again = read.matrices[0].toarray() * recorded
    np.testing.assert_allclose(again, content.matrices[0].toarray(), rtol=1e-5)
    wrong = MeasuredMatrixFile(str(tmp_path / "counts.npz"), **described | {"window_kev": (400.0, 500.0)})
    with pytest.raises(UserError, match=r"records .* of the photons"):
        wrong.read(seen_by, GRID)


def test_npz_of_another_layout_is_the_same_matrix(tmp_path):
    """Whatever sparse layout scipy saved, entries given twice included."""
    content = drawn(camera(), ENERGIES[:1])
    entries = content.matrices[0].tocoo()
    halves = np.concatenate([entries.data / 2] * 2)
    places = tuple(np.concatenate([index] * 2) for index in entries.coords)
    save_npz(tmp_path / "m.npz", coo_array((halves, places), shape=entries.shape))
    file = MeasuredMatrixFile(str(tmp_path / "m.npz"), energy_kev=82.0, unit="first interactions per photon")
    read = file.read(camera(), GRID).matrices[0]
    np.testing.assert_array_equal(read.toarray(), entries.toarray())


def _file(tmp_path: Path, **changes: object) -> Path:
    """A good file with some of its content changed; None removes it."""
    path = tmp_path / "matrix.h5"
    drawn(camera()).write(path)
    with h5py.File(path, "r+") as file:
        for name, value in changes.items():
            name = name.replace("__", "/")
            if name in file.attrs:
                file.attrs[name] = value
                continue
            if name in file:
                del file[name]
            if value is not None:
                file[name] = value
    return path


def _external(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["0/value"]
        file["0/value"] = h5py.ExternalLink("other.h5", "value")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _huge(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for name, kind in (("value", "<f4"), ("column", "<i4")):
            del file[f"0/{name}"]
            file.create_dataset(f"0/{name}", shape=(2**34,), dtype=kind, chunks=(2**16,))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": "other"}, "has format 'other'"),
        ({"version": 2}, "has version"),
        ({"order": "pixel: column first"}, "has order"),
        ({"unit": "counts per second"}, "has unit 'counts per second'; it needs one of"),
        ({"energies_kev": np.array([218.0, 82.0])}, "positive ones that rise"),
        ({"energies_kev": np.array([82.0])}, "holds 1/column"),
        ({"energies_kev": np.array([np.nan, 82.0])}, "positive ones that rise"),
        ({"shape": np.array([192, 121])}, "has shape [192, 121]"),
        (
            {"shape": np.array([191, 120])},
            "and 48 rows in 0; it needs as many columns as values and 191 rows",
        ),
        ({"grid__shape": np.array([5, 4])}, "has grid/shape of shape (2,)"),
        ({"extra": np.zeros(3)}, "holds extra"),
        ({"0__value": None}, "lacks 0/value"),
        ({"0__value": np.zeros(3)}, "has 0/value of type float64"),
        ({"0__value": np.zeros(3, "f4")}, "has 3 values"),
        ({"window_kev": np.zeros((2, 2))}, "holds window_kev"),
    ],
)
def test_wrong_files_are_told(tmp_path, changes, told):
    """Each mistake of layout, unit, energies and sizes in one sentence that names the file."""
    with pytest.raises(UserError) as error:
        read_hdf5(_file(tmp_path, **changes))
    assert str(error.value).startswith(str(tmp_path / "matrix.h5"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "place", "value", "told"),
    [
        ("value", 5, np.nan, "negative, NaN or infinite"),
        ("value", 5, -1.0, "negative, NaN or infinite"),
        ("column", 5, 120, "columns beyond its 120 voxels"),
        ("column", 5, -1, "columns beyond its 120 voxels"),
        ("start", 3, 0, "do not rise"),
        ("start", -1, 3, "do not rise"),
    ],
)
def test_wrong_numbers_are_told(tmp_path, part, place, value, told):
    """Entries and indices that no matrix has."""
    path = _file(tmp_path)
    with h5py.File(path, "r+") as file:
        file[f"1/{part}"][place] = value
    with pytest.raises(UserError, match=told):
        read_hdf5(path)


@pytest.mark.parametrize(
    ("break_file", "told"),
    [
        (_external, "the link 0/value"),
        (_truncated, "truncated"),
        (_huge, "claims .* where 0 bytes are stored"),
    ],
)
def test_files_of_strangers_are_refused(tmp_path, break_file: Callable[[Path], None], told):
    """A link to another file, half a file, and sizes that would fill the memory, before data is read."""
    path = _file(tmp_path)
    break_file(path)
    with pytest.raises(UserError, match=told):
        read_hdf5(path)


def test_another_camera_grid_or_energy_is_told(tmp_path):
    """What the model asks for has to be in the file."""
    content = drawn(camera())
    with pytest.raises(UserError, match=r"shape \[48, 120\]; camera lofts and grid need \[16, 120\]"):
        MeasuredMatrix(camera(angles_deg=(0.0,)), GRID, ENERGIES, content)
    with pytest.raises(UserError, match=r"voxels \[5, 4, 6\].*needs \[5, 4, 6\] of \[4.0, 5.0, 5.0\]"):
        MeasuredMatrix(camera(), VoxelGrid(GRID.shape, (4.0, 5.0, 5.0)), ENERGIES, content)
    asked = torch.tensor([83.0, 154.0], dtype=torch.float64)
    with pytest.raises(UserError, match="energies 82, 218 keV; the model needs 154 keV too, within 2 %"):
        MeasuredMatrix(camera(), GRID, asked, content)
    MeasuredMatrix(camera(), GRID, asked, content, energy_tolerance=0.5)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"file": "nowhere.h5"}, "nowhere.h5, which is no file"),
        ({"file": "m.h5", "unit": "counts per photon"}, "unit is given for m.h5"),
        ({"file": "m.npz"}, "energy_kev is None"),
        ({"file": "m.npz", "energy_kev": 82.0}, "unit is None"),
        ({"file": "m.npz", "energy_kev": 82.0, "unit": "counts per photon"}, "window_kev is None"),
    ],
)
def test_descriptions_are_checked(keys, told):
    """Before anything is read: what an ``.npz`` needs beside it, and HDF5 says itself."""
    with pytest.raises(UserError, match=told):
        MeasuredMatrixFile(**keys)


def system(options: ModelOptions) -> ImagingSystem:
    return ImagingSystem(camera(), decay_chain("Pb-212"), GRID, EnergyBins(20, 600, 29), options=options)


def test_a_system_records_its_matrix(tmp_path):
    """Plain data holds the file and its hash; another content of the same name is refused, and so is a
    scatter term that the file includes already."""
    ours = system(ModelOptions(2, (), ray_sampling=FEW))
    content = export_matrix(ours.projector(), tmp_path / "matrix.h5")
    file = MeasuredMatrixFile(str(tmp_path / "matrix.h5"))
    theirs = system(ModelOptions(2, (), projector=file))
    again = ImagingSystem.from_dict(theirs.to_dict())
    assert again.fingerprint == theirs.fingerprint != ours.fingerprint
    assert isinstance(again.projector(), MeasuredMatrix)
    replace(content, includes=("leakage",)).write(tmp_path / "matrix.h5")
    with pytest.raises(UserError, match="its hash differs"):
        again.projector()
    counted = ModelOptions(2, ("leakage",), projector=MeasuredMatrixFile(str(tmp_path / "matrix.h5")))
    with pytest.raises(UserError, match="includes leakage, which scatter_terms adds again"):
        system(counted).projector()
    (tmp_path / "matrix.h5").unlink()
    with pytest.raises(UserError, match="which is no file"):
        again.projector()
