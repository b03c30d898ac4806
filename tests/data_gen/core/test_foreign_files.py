"""Files that claim more than they hold. Truth: the system refuses a process one GB more than it has, so that
whoever allocates what a file claims fails otherwise than in a sentence.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from data_gen.camera import load_camera
from data_gen.core.errors import UserError
from data_gen.core.foreign_files import check_archive, read_json, read_yaml
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.core.hdf5 import tree_of
from data_gen.core.memory import check_memory, memory_limit_bytes
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.kinetics import load_kinetics
from data_gen.phantoms import AtlasPhantom, checked_labels
from data_gen.phantoms.voxelise import fine_axis_mm
from data_gen.projector import MeasuredMatrixFile, RaySampling
from data_gen.readout.odin import read_odin
from data_gen.storage import Manifest, ShardReader, StoredScan, write_shard

Record = Callable[[int], StoredScan]
pytestmark = pytest.mark.usefixtures("little_memory")


def test_the_limit_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment in GB, else what the machine has; a sentence tells the estimate and the way out."""
    assert memory_limit_bytes() == 1e9
    check_memory(1e9, "x")
    with pytest.raises(
        UserError, match=r"^x needs about 1\.5 GB of memory, and 1 GB may be used; .*HSPI_MEMORY_GB"
    ):
        check_memory(1.5e9, "x")
    with pytest.raises(UserError, match="GB of memory"):
        check_memory(10**400, "x")
    monkeypatch.setenv("HSPI_MEMORY_GB", "2")
    check_memory(1.5e9, "x")
    for wrong in ("much", "-1", "0", "nan"):
        monkeypatch.setenv("HSPI_MEMORY_GB", wrong)
        with pytest.raises(UserError, match=f"HSPI_MEMORY_GB is '{wrong}'"):
            check_memory(1, "x")
    monkeypatch.delenv("HSPI_MEMORY_GB")
    assert memory_limit_bytes() > 1e8


YAML = {
    "aliases": (
        "a: &a [1, 1, 1, 1]\n"
        + "\n".join(
            f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "stands for more than",
    ),
    "long text by aliases": (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 20)}]", "stands for more than"),
    "merged aliases": (
        "a: &a {k: 1}\n"
        + "\n".join(
            f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "stands for more than",
    ),
    "itself": ("a: &a {b: [*a]}", "contains itself"),
    "depth": ("[" * 100 + "]" * 100, "nests deeper"),
    "length": ("#" * 2_000_000, "stands for more than"),
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_grows(kind: str, tmp_path: Path) -> None:
    """Counted, aliases filled in, before it is read: as a config, a camera, a kinetic model."""
    text, told = YAML[kind]
    (tmp_path / "x.yaml").write_text(text)
    for read in (read_yaml, load_camera, load_kinetics):
        with pytest.raises(UserError, match=told):
            read(tmp_path / "x.yaml")


def test_plain_yaml_is_read(tmp_path: Path) -> None:
    """Some aliases are a convenience; what is no YAML stays for those who say what it should be."""
    (tmp_path / "x.yaml").write_text("a: &a [1, two]\nb: {c: *a, d: *a}\n")
    assert read_yaml(tmp_path / "x.yaml") == {"a": [1, "two"], "b": {"c": [1, "two"], "d": [1, "two"]}}
    (tmp_path / "x.yaml").write_text("a: [1")
    with pytest.raises(yaml.YAMLError):
        read_yaml(tmp_path / "x.yaml")


def test_json_that_nests_or_fills_the_memory(tmp_path: Path) -> None:
    """Too deep is no JSON to us; fifty megabytes of empty lists would be more than a gigabyte of objects."""
    (tmp_path / "deep.json").write_text("[" * 10**6)
    with pytest.raises(ValueError, match="too deep"):
        read_json(tmp_path / "deep.json")
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(UserError, match=r"long\.json needs about 1\.5 GB"):
        read_json(tmp_path / "long.json")


def _npz(path: Path, content: bytes, compress: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("x.npy", content)
    return path


def _npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def test_archives(tmp_path: Path) -> None:
    """A header that lies, and zeros that deflate shrinks a thousand times."""
    check_archive(_npz(tmp_path / "good.npz", _npy((3,), b"12345678" * 3)))
    with pytest.raises(UserError, match=r"x\.npy claims the shape \(30000, 50000\)"):
        check_archive(_npz(tmp_path / "lie.npz", _npy((30000, 50000))))
    bomb = _npz(tmp_path / "bomb.npz", _npy((4_000_000,)) + bytes(32_000_000))
    check_archive(bomb)
    with zipfile.ZipFile(bomb) as archive:
        claimed = archive.infolist()[0]
    raw = bomb.read_bytes()
    size, more = claimed.file_size.to_bytes(4, "little"), (3_000_000_000).to_bytes(4, "little")
    bomb.write_bytes(raw.replace(size, more))
    with pytest.raises(UserError, match="claims 3 GB of data, of which it holds"):
        check_archive(bomb)
    with pytest.raises(UserError, match="compressed"):
        check_archive(tmp_path / "good.npz", stored=True)


def _claims(file: h5py.File) -> None:
    file.create_dataset("x", (1_500_000_000,), "<f8", chunks=(1000,))


def _claims_packed(file: h5py.File) -> None:
    file.create_dataset("x", (1_500_000_000,), "<f8", chunks=(1000,), compression="gzip")[:1000] = 0.0


def _packed_twice(file: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1000,))
    plist.set_deflate(9)
    plist.set_deflate(9)
    space = h5py.h5s.create_simple((1000,))
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, space, plist)


def _wide_chunks(file: h5py.File) -> None:
    data = file.create_dataset("x", (10,), "<f8", maxshape=(None,), chunks=(400_000_000,), compression="gzip")
    del data


HDF5 = {
    "nothing stored": (_claims, "claims 12 GB where 0 bytes are stored"),
    "one chunk stored": (_claims_packed, "claims 12 GB where"),
    "compressed twice": (_packed_twice, "compresses x more than once"),
    "chunks wider than the data": (_wide_chunks, "x of shape"),
}


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5_that_claims(kind: str, tmp_path: Path) -> None:
    """Two kilobytes of file are never gigabytes of data."""
    make, told = HDF5[kind]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file)
    assert (tmp_path / "x.h5").stat().st_size < 20_000
    with h5py.File(tmp_path / "x.h5", "r") as file, pytest.raises(UserError, match=told):
        tree_of(file, 10, UserError)


def test_spectra_that_claim(tmp_path: Path) -> None:
    """A HEXITEC file whose spectra were never written."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["spectra_bins"] = np.arange(100.0)
        file.create_dataset("pixel_spectra", (1000, 1000, 100), "<f4", chunks=(10, 10, 100))
    with pytest.raises(UserError, match="pixel_spectra of shape"):
        read_odin(tmp_path / "x.h5")


def _nifti_header(shape: tuple[int, int, int]) -> bytes:
    from nibabel.nifti1 import Nifti1Header

    header = Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + bytes(4 + 100)


def test_label_maps_that_claim(tmp_path: Path) -> None:
    """A label map of 27 GB in half a kilobyte."""
    (tmp_path / "x.nii").write_bytes(_nifti_header((3000, 3000, 3000)))
    with pytest.raises(UserError, match=r"x\.nii claims 27 GB of data"):
        AtlasPhantom(
            str(tmp_path / "x.nii"),
            {"1": {"organ": "liver", "density_g_cm3": 1.0, "uptake_percent_per_g": [1.0, 2.0]}},
        )(VoxelGrid((4, 4, 4), 4.0), None)


def test_matrices_that_claim(tmp_path: Path, tiny_system: ImagingSystem) -> None:
    """The arrays of a sparse matrix are held against their headers."""
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        for name in ("indices", "indptr", "data", "shape", "format"):
            archive.writestr(f"{name}.npy", _npy((400_000_000,)))
    file = MeasuredMatrixFile(str(tmp_path / "m.npz"), energy_kev=82.0, unit="first interactions per photon")
    with pytest.raises(UserError, match="claims the shape"):
        file.read(tiny_system.camera, tiny_system.grid)


SIZES: dict[str, tuple[Callable[[], object], str]] = {
    "voxels": (
        lambda: VoxelGrid((2000, 2000, 2000), 1.0),
        r"grid\.shape \[2000, 2000, 2000\] needs about 800 GB",
    ),
    "more voxels than numbers": (lambda: VoxelGrid((10**200, 10**200, 10**200), 1.0), "GB of memory"),
    "energy bins": (
        lambda: EnergyBins(0.0, 600.0, 10**10),
        r"energy_bins\.count 10000000000 needs about 80 GB",
    ),
    "pixels": (
        lambda: load_camera("demo", detector={"rows": 240_000, "columns": 240_000}),
        "a camera of 345600000000 pixels",
    ),
    "rotations": (
        lambda: load_camera("demo", panels={"rotation": {"steps": 10**9}}),
        "GB of memory",
    ),
    "rays": (lambda: ModelOptions(ray_sampling=RaySampling(rays=10**9)), "ray_sampling of 1000000000 rays"),
    "fine voxels": (
        lambda: fine_axis_mm(VoxelGrid((8, 8, 8), 4.0), 0, 10_000),
        "10000 fine voxels along each edge",
    ),
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes(kind: str) -> None:
    """What a config asks for is estimated before it is allocated."""
    make, told = SIZES[kind]
    with pytest.raises(UserError, match=told) as error:
        make()
    assert "HSPI_MEMORY_GB" in str(error.value)


@pytest.fixture
def shard(tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record) -> Path:
    path = tmp_path / "shard.h5"
    write_shard(path, [tiny_record(i) for i in range(4)], tiny_system.to_dict())
    return path


def _system_of_30_gb(file: h5py.File) -> None:
    del file["system"]
    file.create_dataset("system", (30_000_000_000,), "|u1", chunks=(1 << 20,), compression="gzip")


def _long_system(file: h5py.File) -> None:
    del file["system"]
    file.create_dataset("system", data=np.zeros(50_000_000, "|u1"), compression="gzip")


def _deep_system(file: h5py.File) -> None:
    del file["system"]
    file["system"] = np.frombuffer(b"[" * 10**6, dtype=np.uint8)


def _events(file: h5py.File) -> None:
    for name in ("pixel", "energy_kev", "time_s"):
        old = file[f"events/{name}"]
        kind = old.dtype
        del file[f"events/{name}"]
        data = file.create_dataset(
            f"events/{name}", (2_000_000,), kind, chunks=(1 << 20,), compression="gzip"
        )
        for start in range(0, 2_000_000, 1 << 20):
            data[start : start + (1 << 20)] = 0
    file["events/offsets"][-1] = 2_000_000


def _version(file: h5py.File) -> None:
    file.attrs["schema_version"] = np.array([2, 2])


def _scalar(file: h5py.File) -> None:
    del file["events/offsets"]
    file["events/offsets"] = np.int64(3)


def _grid(file: h5py.File) -> None:
    del file["system"]
    file["system"] = np.frombuffer(json.dumps({"grid": {"shape": 6}}).encode(), dtype=np.uint8)


SHARDS = {
    "system of 30 GB": (_system_of_30_gb, "system of shape .* claims 30 GB where"),
    "system of 50 MB": (_long_system, "one of its scans needs about 1.5 GB"),
    "system without bottom": (_deep_system, "describes no imaging system"),
    "events": (_events, r"a scan of 19999[0-9]+ events needs about 0\.16 GB"),
    "two versions": (_version, r"schema_version \[2 2\]"),
    "offsets without length": (_scalar, "cannot be read"),
    "grid without axes": (_grid, "not that of its grid"),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_shards(kind: str, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that somebody sent along."""
    monkeypatch.setenv("HSPI_MEMORY_GB", "0.1")
    edit, told = SHARDS[kind]
    with h5py.File(shard, "r+") as file:
        edit(file)
    with pytest.raises(UserError, match=told):
        ShardReader(shard)


SYSTEMS = {
    "pixels": ({"camera.detector.rows": 10**10}, "a camera of"),
    "grid": ({"grid.shape": [2000, 2000, 2000]}, "needs about 800 GB"),
    "no number": ({"grid.shape": ["a", 1, 1]}, "imaging system is none that this program wrote"),
    "unknown key": ({"grid.size": 3}, "imaging system is none"),
    "nuclide": ({"nuclide": 3}, "3|imaging system is none"),
    "groups": ({"groups": 3}, "imaging system is none"),
    "bins": ({"energy_bins.count": 10**10}, "GB of memory"),
    "rays": ({"ray_sampling": {"rays": "many"}}, "rays is 'many'"),
}


@pytest.mark.parametrize("kind", SYSTEMS)
def test_systems(kind: str, tiny_system: ImagingSystem) -> None:
    """The imaging system of a manifest, a shard or a run folder that somebody sent along."""
    changes, told = SYSTEMS[kind]
    data = json.loads(json.dumps(tiny_system.to_dict()))
    for key, value in changes.items():
        *parts, last = key.split(".")
        place = data
        for part in parts:
            place = place[part]
        place[last] = value
    with pytest.raises(UserError, match=told):
        ImagingSystem.from_dict(data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda data: data["splits"]["test"].append(data["splits"]["train"][0]),
            "file train-0.h5 is listed 2 times",
        ),
        (
            lambda data: data["splits"]["test"].append({**data["splits"]["train"][0], "file": "other.h5"}),
            "sha256 [0-9a-f]{64} is listed 2 times",
        ),
        (lambda data: data["splits"]["test"][0].update(scans="2"), r"splits\.test\.0\.scans is '2'"),
        (lambda data: data["splits"]["test"][0].update(scans=0), r"splits\.test\.0\.scans is 0"),
        (lambda data: data["provenance"].update(licence=" "), "data need a licence"),
        (lambda data: data["provenance"].update(deidentified="no"), "deidentified is 'no'"),
        (lambda data: data.update(seed=1.5), "seed is 1.5"),
        (lambda data: data.update(system=[1]), "system is"),
    ],
)
def test_manifests(
    change: Callable[[dict], object], told: str, tmp_path: Path, tiny_dataset: Callable[[Path], Manifest]
) -> None:
    """Refused where they are read, and where they would be made."""
    tiny_dataset(tmp_path)
    data = json.loads((tmp_path / "manifest.json").read_text())
    change(data)
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=told):
        Manifest.read(tmp_path)
    with pytest.raises(ValueError, match=r"Manifest|Provenance|ShardEntry"):
        Manifest.model_validate_json(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": 300}, "truths/labels of int64 from 300 to 300; it needs whole numbers from 0 to 255"),
        ({"labels": -1}, "truths/labels of int64 from -1"),
        ({"density": float("nan")}, "NaN or infinite objects/density_g_cm3"),
        ({"activity": -1.0}, "negative, NaN or infinite truths/activity_bq"),
    ],
)
def test_scans_that_no_shard_can_hold(
    change: dict[str, float], told: str, tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record
) -> None:
    """Refused by the writer, which leaves no file."""
    from dataclasses import replace

    record = tiny_record(0)
    filled = {name: getattr(record, name).clone().fill_(value) for name, value in change.items()}
    with pytest.raises(UserError, match=told):
        write_shard(tmp_path / "x.h5", [replace(record, **filled)], tiny_system.to_dict())
    assert not list(tmp_path.iterdir())


def test_labels_are_organs(tiny_record: Record) -> None:
    """A phantom of one's own, or a shard of somebody else's, may number organs that there are not."""
    labels = tiny_record(0).labels
    assert labels is not None
    assert checked_labels(labels, "x") is labels
    for wrong in (labels + 100, labels - 1, labels.double()):
        with pytest.raises(UserError, match=r"x: labels of .*from 0 to 21"):
            checked_labels(wrong, "x")
