"""Checkpoints, scans and networks that claim more than they hold. Truth: the system refuses a process one GB
more than it has, so that whoever allocates what a file claims fails otherwise than in a sentence.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.system import ImagingSystem
from data_gen.storage import Manifest, StoredScan, write_shard
from hspi_learn.data import KeptTensors, ScanDataModule
from hspi_learn.io.nifti import read_density
from hspi_learn.io.scan_files import read_scan
from hspi_learn.io.weights import load_checkpoint
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator

pytestmark = pytest.mark.usefixtures("little_memory")


class Call:
    """Pickled, a call of ``open`` that empties a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def _saved(path: Path, content: Any) -> None:
    torch.save({"state_dict": {}, "more": content}, path)


def _packed(path: Path) -> None:
    """Zeros, deflated: half a megabyte for half a gigabyte."""
    whole = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, bytes(10_000_000) if "data/0" in part.filename else old.read(part))


def _longer(path: Path) -> None:
    """A storage that claims more bytes than its part of the archive has."""
    whole = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for part in old.infolist():
            content = old.read(part)
            new.writestr(part.filename, content[:400] if "data/0" in part.filename else content)


def _laughs(path: Path) -> None:
    """A list of lists of lists, ten thousand millions if each were looked at."""
    nested: list[Any] = [1.0]
    for _ in range(40):
        nested = [nested, nested]
    whole = io.BytesIO()
    torch.save({"more": nested}, whole)  # no state_dict: refused once all of it was looked at
    path.write_bytes(whole.getvalue())


CHECKPOINTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "call": (lambda path, victim: _saved(path, Call(victim)), "more than tensors and plain values"),
    "pickle": (lambda path, victim: path.write_bytes(pickle.dumps(Call(victim))), "damaged"),
    "old format": (
        lambda path, _: torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=False),
        "damaged",
    ),
    "expanded tensor": (
        lambda path, _: _saved(path, torch.zeros(1).expand(10**6, 10**6)),
        "a tensor of shape .*not all of whose numbers",
    ),
    "sparse tensor": (
        lambda path, _: _saved(path, torch.zeros(3, 3).to_sparse().clone()),
        "a tensor of shape .*not all of whose numbers",
    ),
    "compressed": (lambda path, _: _packed(path), "compressed, which this program never writes"),
    "shorter than it claims": (lambda path, _: _longer(path), "damaged|not all of whose numbers"),
    "lists of lists": (lambda path, _: _laughs(path), "is no training checkpoint"),
    "other content": (lambda path, _: torch.save([1, 2], path), "is no training checkpoint"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(kind: str, tmp_path: Path) -> None:
    """None runs, none is believed; the file beside it is what it was."""
    make, told = CHECKPOINTS[kind]
    victim = tmp_path / "thesis.txt"
    victim.write_text("years")
    make(tmp_path / "last.ckpt", victim)
    with pytest.raises(UserError, match=told):
        load_checkpoint(tmp_path / "last.ckpt")
    assert victim.read_text() == "years"


def _npz(path: Path, **shapes: tuple[int, ...]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in shapes.items():
            file = io.BytesIO()
            about = {"descr": "<i8", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
            archive.writestr(f"{name}.npy", file.getvalue())


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("pixel", (1_500_000_000,), "<i8", chunks=(1000,))
        file.create_dataset("energy_kev", (1_500_000_000,), "<f4", chunks=(1000,))


def test_scans(tmp_path: Path) -> None:
    """Twelve gigabytes of events in a few kilobytes."""
    _npz(tmp_path / "x.npz", pixel=(1_500_000_000,), energy_kev=(1_500_000_000,))
    with pytest.raises(UserError, match=r"npy claims the shape \(1500000000,\)"):
        read_scan(tmp_path / "x.npz")
    _hdf5(tmp_path / "x.h5")
    assert (tmp_path / "x.h5").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"which claims .* where 0 bytes are stored"):
        read_scan(tmp_path / "x.h5")
    (tmp_path / "none.npz").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="damaged"):
        read_scan(tmp_path / "none.npz")


def test_densities(tmp_path: Path) -> None:
    """A volume of 27 GB in half a kilobyte, packed and not."""
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    content = bytearray(image.to_bytes())
    content[42:48] = np.array([3000, 3000, 3000], "<i2").tobytes()
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.nii claims 27 GB of data, of which it holds"):
        read_density(tmp_path / "x.nii", VoxelGrid((4, 4, 4), 1.0))
    import gzip

    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(UserError, match=r"x\.nii\.gz claims 27 GB of data"):
        read_density(tmp_path / "x.nii.gz", VoxelGrid((4, 4, 4), 1.0))
    with pytest.raises(UserError, match="needs a name that ends with"):
        read_density(tmp_path / "x.mgz", VoxelGrid((4, 4, 4), 1.0))


NETWORKS: dict[str, tuple[Callable[[], object], str]] = {
    "channels": (
        lambda: CorrectionUNet(2, (40_000, 40_000), (2,)),
        r"training generator\.channels \[40000, 40000\], [0-9]+ weights, needs about [0-9e+.]+ GB of memory",
    ),
    "more than a tensor counts": (lambda: CorrectionUNet(2, (10**12, 10**12), (2,)), "generator.channels"),
    "no channels": (lambda: CorrectionUNet(2, (0, 4), (1,)), "generator.channels"),
    "units": (lambda: CorrectionUNet(2, (4, 8), (1,), residual_units=10**6), "residual_units is 1000000"),
    "resolutions": (lambda: CorrectionUNet(2, (4,) * 500, (1,) * 499), "500 resolutions"),
    "discriminator": (lambda: PatchDiscriminator(2, 40_000), r"discriminator\.channels \[40000\]"),
    "layers": (lambda: PatchDiscriminator(2, 4, 60), "discriminator.layers is 60"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks(kind: str) -> None:
    """Counted before they are built."""
    make, told = NETWORKS[kind]
    with pytest.raises(UserError, match=told):
        make()


def test_counting_a_network_changes_nothing() -> None:
    """The first weights are those that MONAI's own network has from the same generator."""
    from monai.networks.nets.unet import UNet

    torch.manual_seed(3)
    mine = CorrectionUNet(2, (4, 8), (2,), residual_units=1).body.state_dict()
    torch.manual_seed(3)
    theirs = UNet(3, 4, 4, (4, 8), (2,), num_res_units=1, norm=("GROUP", {"num_groups": 4})).state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_data_modules(
    tmp_path: Path,
    tiny_dataset: Callable[[Path], Manifest],
    tiny_system: ImagingSystem,
    tiny_record: Callable[[int], StoredScan],
) -> None:
    """More processes than memory, and labels of organs that there are not."""
    from dataclasses import replace

    manifest = tiny_dataset(tmp_path)
    with pytest.raises(UserError, match=r"data\.workers 1000000 needs about"):
        ScanDataModule(str(tmp_path), (20.0, 600.0), workers=10**6)
    labels = tiny_record(0).labels
    assert labels is not None
    entry = write_shard(
        tmp_path / "wrong.h5", [replace(tiny_record(0), labels=labels + 100)], tiny_system.to_dict()
    )
    manifest.model_copy(update={"splits": {"test": (entry,)}}).write(tmp_path)
    with pytest.raises(UserError, match="scan 0 of split test: labels of"):
        ScanDataModule(str(tmp_path), (20.0, 600.0)).windowed("test")[0]


def test_what_is_kept_beside_a_data_set_follows_no_link(tmp_path: Path, monkeypatch) -> None:
    """A data set whose folder of inputs leads elsewhere has them in the cache folder."""
    monkeypatch.setenv("HSPI_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    kept = KeptTensors(tmp_path / "data", "key")
    assert kept.writable == tmp_path / "data" / "inputs" / "key"
    (tmp_path / "data" / "inputs").symlink_to(tmp_path / "elsewhere")
    kept = KeptTensors(tmp_path / "data", "key")
    kept.find_or_make("scan", lambda: {"x": torch.ones(2)})
    assert kept.writable == tmp_path / "cache" / "inputs" / "key"
    assert not list((tmp_path / "elsewhere").iterdir())
