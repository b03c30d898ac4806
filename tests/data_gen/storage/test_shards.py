"""Shards: what is written is read, bytes repeat, and nothing that is not a shard is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.files import whole_file
from data_gen.forward_model.system import ImagingSystem
from data_gen.storage import Manifest, ShardReader, StoredScan, write_shard
from data_gen.storage.schema import COLUMNS

Record = Callable[[int], StoredScan]


@pytest.fixture
def shard(tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record) -> Path:
    path = tmp_path / "shard.h5"
    write_shard(path, [tiny_record(i) for i in range(4)], tiny_system.to_dict())
    return path


def test_scans_survive_the_disk(shard: Path, tiny_system: ImagingSystem, tiny_record: Record) -> None:
    """Every field comes back bit by bit, an empty scan included."""
    reader = ShardReader(shard)
    assert len(reader) == 4
    assert reader.system == tiny_system.to_dict()
    assert ImagingSystem.from_dict(reader.system).fingerprint == tiny_system.fingerprint
    for i in range(4):
        wanted, found = tiny_record(i), reader.scan(i)
        for name in ("number", "frames", "injected_bq", "body_mass_g", "counts", "counts_photopeak"):
            assert getattr(found, name) == getattr(wanted, name)
        for name in ("density", "activity", "labels"):
            assert torch.equal(getattr(found, name), getattr(wanted, name))
        for name in ("pixel", "energy_kev", "time_s"):
            assert torch.equal(getattr(found.events, name), getattr(wanted.events, name))
            assert torch.equal(getattr(reader.events(i), name), getattr(wanted.events, name))
    assert reader.scan(1).duration_s == 91.0


def test_a_measured_scan_needs_no_truth(
    tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record
) -> None:
    """Without truths the rest is the same; a shard with truths of some scans only is refused."""
    blind = replace(tiny_record(0), activity=None, labels=None)
    write_shard(tmp_path / "blind.h5", [blind], tiny_system.to_dict())
    found = ShardReader(tmp_path / "blind.h5").scan(0)
    assert found.activity is None
    assert torch.equal(found.density, blind.density)
    with pytest.raises(UserError, match="all or none"):
        write_shard(tmp_path / "half.h5", [blind, tiny_record(1)], tiny_system.to_dict())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blind.h5"]


def test_the_same_scans_give_the_same_bytes(
    shard: Path, tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record
) -> None:
    """No time stamp or dictionary order finds its way into a file."""
    again = tmp_path / "again.h5"
    write_shard(again, [tiny_record(i) for i in range(4)], tiny_system.to_dict())
    assert again.read_bytes() == shard.read_bytes()


def test_a_truncated_file_is_named(shard: Path) -> None:
    """Cut anywhere, a shard is refused by its name, never read half."""
    whole = shard.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"shard\.h5"):
            ShardReader(shard)


def edited(shard: Path, edit: Callable[[h5py.File], None]) -> None:
    with h5py.File(shard, "r+") as file:
        edit(file)


def _external_link(file: h5py.File) -> None:
    del file["events/pixel"]
    file["events/pixel"] = h5py.ExternalLink("/etc/hostname", "/x")


def _soft_link(file: h5py.File) -> None:
    del file["scans/counts"]
    file["scans/counts"] = h5py.SoftLink("/scans/number")


def _external_storage(file: h5py.File) -> None:
    del file["scans/counts"]
    file.create_dataset("scans/counts", (4,), "<i8", external=[("/etc/hostname", 0, 32)])


def _virtual(file: h5py.File) -> None:
    del file["scans/counts"]
    layout = h5py.VirtualLayout((4,), "<i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    file.create_virtual_dataset("scans/counts", layout)


def _huge(file: h5py.File) -> None:
    del file["truths/activity_bq"]
    file.create_dataset("truths/activity_bq", (4, 1 << 40, 6, 6, 6), "<f4", chunks=(1, 1, 6, 6, 6))


def _object(file: h5py.File) -> None:
    del file["scans/counts"]
    file.create_dataset("scans/counts", data=["a", "b", "c", "d"], dtype=h5py.string_dtype())


def _more(file: h5py.File) -> None:
    file["surprise"] = np.zeros(3)


def _version(file: h5py.File) -> None:
    file.attrs["schema_version"] = 99


def _offsets(file: h5py.File) -> None:
    file["events/offsets"][1] = 10**6


def _shape(file: h5py.File) -> None:
    del file["scans/counts"]
    file["scans/counts"] = np.zeros(5, dtype="<i8")


def _other_grid(file: h5py.File) -> None:
    del file["system"]
    text = json.dumps({"grid": {"shape": [1, 2, 3]}}).encode()
    file["system"] = np.frombuffer(text, dtype=np.uint8)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_external_link, "link events/pixel"),
        (_soft_link, "link scans/counts"),
        (_external_storage, "other files"),
        (_virtual, "other files"),
        (_huge, "claims .* where 0 bytes are stored"),
        (_object, "type object"),
        (_more, "holds surprise"),
        (_version, "schema_version 99"),
        (_offsets, "events/offsets"),
        (_shape, "scans/counts"),
        (_other_grid, "not that of its grid"),
    ],
)
def test_crafted_files_are_refused(shard: Path, edit: Callable[[h5py.File], None], named: str) -> None:
    """Links out of the file, foreign storage, sizes that fill the memory and odd types are not followed."""
    edited(shard, edit)
    with pytest.raises(UserError, match=named):
        ShardReader(shard)


def test_nan_density_is_refused(shard: Path) -> None:
    """A NaN in a map is told with the file's name."""

    def spoil(file: h5py.File) -> None:
        file["objects/density_g_cm3"][0, 0, 0, 0] = np.nan

    edited(shard, spoil)
    with pytest.raises(UserError, match="density holds negative, NaN"):
        ShardReader(shard).scan(0)


def test_the_schema_page_names_every_data_set() -> None:
    """docs/shards.md and the code tell the same."""
    page = (Path(__file__).parents[3] / "docs" / "shards.md").read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in page] == []


def test_manifest_notices_what_changed(tmp_path: Path, tiny_dataset: Callable[[Path], Manifest]) -> None:
    """A missing, a changed and a wandering file are each named."""
    written = tiny_dataset(tmp_path)
    manifest = Manifest.read(tmp_path)
    assert manifest == written
    assert manifest.scans("train") == 10
    entry = manifest.splits["train"][0]
    file = manifest.checked_file(tmp_path, entry)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"train-0\.h5 is truncated or was changed"):
        manifest.checked_file(tmp_path, entry)
    file.unlink()
    with pytest.raises(UserError, match=r"train-0\.h5 is missing"):
        manifest.checked_file(tmp_path, entry)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema_version": 7}, "schema_version 7"),
        ({"splits": {"train": [{"file": "../x.h5", "scans": 1, "sha256": "0" * 64}]}}, "plain file name"),
        ({"extra": 1}, "extra"),
        ({"provenance": {"origin": "found"}}, "origin"),
    ],
)
def test_wrong_manifests_are_refused(
    tmp_path: Path, tiny_dataset: Callable[[Path], Manifest], change: dict[str, object], named: str
) -> None:
    """Each mistake is told with its key."""
    tiny_dataset(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=named):
        Manifest.read(tmp_path)
    with pytest.raises(UserError, match="holds no"):
        Manifest.read(tmp_path / "elsewhere")


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    """An error while writing leaves neither the file nor its temporary."""

    def write_half() -> None:
        with whole_file(tmp_path / "x.json") as part:
            part.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """Killed with the temporary half written, the file that was there is still whole."""
    (tmp_path / "x.json").write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path; from data_gen.core.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.json")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x.json").read_text() == "old"
    with whole_file(tmp_path / "x.json") as part:
        part.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
