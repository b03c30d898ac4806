"""Shards: what is written is read, bytes repeat, and nothing that is not a shard is read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.core.files import sha256_of, whole_file
from data_gen.forward_model.system import ImagingSystem
from data_gen.storage import Manifest, Provenance, ShardReader, StoredScan, write_shard
from data_gen.storage.manifest import ShardEntry
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


def test_columns_are_those_of_the_schema_page(shard: Path, tiny_record: Record) -> None:
    """Read by h5py alone: types as docs/shards.md tabulates them; 40, 47, 0 and 61 events, two frames each,
    begin where the page says; a chunk is one scan's map, compressed by gzip of level 4 after shuffling."""
    page = (Path(__file__).parents[3] / "docs" / "shards.md").read_text(encoding="utf-8")
    types = dict(re.findall(r"^\| `(\w+/\w+)` \| (\w+) \|", page, re.MULTILINE))
    with h5py.File(shard) as file:
        found: dict[str, str] = {}
        file.visititems(lambda name, item: found.update({name: item.dtype.name} if "/" in name else {}))
        assert found == types
        assert file["events/offsets"][:].tolist() == [0, 40, 87, 87, 148]
        assert file["frames/offsets"][:].tolist() == [0, 2, 4, 6, 8]
        assert file["frames/start_s"][:].tolist() == [0.0, 100.0] * 4
        assert file["frames/duration_s"][:].tolist() == [60.0, 30.0, 60.0, 31.0, 60.0, 32.0, 60.0, 33.0]
        assert file["scans/counts"][:].tolist() == [40, 47, 0, 61]
        assert file["scans/counts_photopeak"][:].tolist() == [13, 15, 0, 20]
        assert file["events/pixel"][40:87].tolist() == tiny_record(1).events.pixel.tolist()
        assert file["truths/activity_bq"].chunks == (1, 2, 6, 6, 6)
        assert file["truths/labels"].chunks == file["objects/density_g_cm3"].chunks == (1, 6, 6, 6)
        assert all(file[name].shuffle and file[name].compression == "gzip" for name in types)
        assert {file[name].compression_opts for name in types} == {4}


def of_events(scan: StoredScan, count: int) -> StoredScan:
    """The scan with so many events of 100 keV in pixel 3 in its second second."""
    time = 1.0 + torch.arange(count, dtype=torch.float64) / count
    return replace(
        scan, events=EventList(torch.full((count,), 3), torch.full((count,), 100.0), time), counts_photopeak=0
    )


def test_events_lie_in_chunks_of_65536(
    tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record
) -> None:
    """As few as there are, or 2^16, so that no reader unpacks much more than it asked for."""
    for count, chunk in ((9, 9), (2**16 + 1, 2**16)):
        write_shard(tmp_path / "e.h5", [of_events(tiny_record(0), count)], tiny_system.to_dict())
        with h5py.File(tmp_path / "e.h5") as file:
            assert file["events/time_s"].chunks == (chunk,)
            assert file["events/offsets"][:].tolist() == [0, count]
        assert ShardReader(tmp_path / "e.h5").scan(0).counts == count


def test_scans_are_counted_from_the_end_too(shard: Path, tiny_record: Record) -> None:
    """As in a list; beyond either end there is none."""
    reader = ShardReader(shard)
    assert reader.scan(-1).number == 3
    assert torch.equal(reader.events(-3).pixel, tiny_record(1).events.pixel)
    for index in (4, -5):
        with pytest.raises(IndexError):
            reader.scan(index)
        with pytest.raises(IndexError):
            reader.events(index)


def test_the_entry_of_a_shard(tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record) -> None:
    """Name, number of scans and hash of the file; without a scan there is no file."""
    entry = write_shard(tmp_path / "a.h5", [tiny_record(i) for i in range(3)], tiny_system.to_dict())
    assert entry == ShardEntry(file="a.h5", scans=3, sha256=sha256_of(tmp_path / "a.h5"))
    with pytest.raises(UserError, match=r"b\.h5 would hold no scan"):
        write_shard(tmp_path / "b.h5", [], tiny_system.to_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("labels", 256, r"truths/labels of int64 from 0 to 256; it needs whole numbers from 0 to 255"),
        ("labels", -1, r"truths/labels of int64 from -1 to 4"),
        ("labels", 1.5, r"truths/labels of float32 from 0\.0 to 4\.0; it needs whole numbers"),
        ("density", -1.0, "negative, NaN or infinite objects/density_g_cm3"),
        ("activity", torch.nan, "negative, NaN or infinite truths/activity_bq"),
        ("activity", torch.inf, "negative, NaN or infinite truths/activity_bq"),
    ],
)
def test_what_the_types_cannot_hold_is_not_written(
    tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record, column: str, value: float, told: str
) -> None:
    """One voxel beyond the type; the greatest and the least label are written, and read again."""
    scan = tiny_record(0)
    maps = getattr(scan, column).clone()
    maps = maps.float() if isinstance(value, float) else maps
    maps.view(-1)[0] = value
    with pytest.raises(UserError, match=told):
        write_shard(tmp_path / "x.h5", [replace(scan, **{column: maps})], tiny_system.to_dict())
    assert list(tmp_path.iterdir()) == []
    assert scan.labels is not None
    ends = scan.labels.clone()
    ends.view(-1)[:2] = torch.tensor([0, 255])
    write_shard(tmp_path / "x.h5", [replace(scan, labels=ends)], tiny_system.to_dict())
    found = ShardReader(tmp_path / "x.h5").scan(0).labels
    assert found is not None
    assert torch.equal(found, ends)


def test_memory_of_a_scan_is_told_beforehand(
    tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 bytes an event: 5,000 in the longest scan need 400 kB. Without events, of four scans: 30 bytes for
    each of the system's; a scan's density, two activity maps and labels as they are, and four times more,
    5 (864 + 1728 + 216) bytes; and what is read whole, offsets of 40 bytes twice, frames of 64 twice, and
    five numbers of a scan, 160."""
    path, system = tmp_path / "x.h5", tiny_system.to_dict()

    def opened(scans: list[StoredScan], bytes_allowed: float) -> None:
        write_shard(path, scans, system)
        monkeypatch.setenv("HSPI_MEMORY_GB", str(bytes_allowed / 1e9))
        assert len(ShardReader(path)) == len(scans)
        monkeypatch.delenv("HSPI_MEMORY_GB")

    long = [of_events(tiny_record(0), count) for count in (10, 5000, 20)]
    opened(long, 400_001)
    with pytest.raises(UserError, match=r"x\.h5: a scan of 5000 events needs about 0\.0004 GB"):
        opened(long, 399_999)
    four = [tiny_record(number) for number in range(4)]
    needed = 30 * len(json.dumps(system)) + 5 * (864 + 1728 + 216) + 2 * 40 + 2 * 64 + 5 * 32
    opened(four, needed + 1)
    with pytest.raises(UserError, match=r"x\.h5: one of its scans needs about"):
        opened(four, needed - 1)


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


def _no_start(file: h5py.File) -> None:
    file["events/offsets"][0] = 1


def _falling(file: h5py.File) -> None:
    file["frames/offsets"][1:3] = [4, 2]


def _no_scans(file: h5py.File) -> None:
    lengths = {"scan": 0, "event": 0, "frame": 0, "scan+1": 1}
    for name, (kind, axes) in COLUMNS.items():
        old = file[name].shape
        del file[name]
        shape = [lengths.get(axis, size) for axis, size in zip(axes.split(","), old, strict=True)]
        file[name] = np.zeros(shape, dtype=kind)


def _lacks(file: h5py.File) -> None:
    del file["scans/injected_bq"]


def _half_a_truth(file: h5py.File) -> None:
    del file["truths/labels"]


def _version_in_words(file: h5py.File) -> None:
    file.attrs["schema_version"] = "2"


def _no_json(file: h5py.File) -> None:
    del file["system"]
    file["system"] = np.frombuffer(b"{", dtype=np.uint8)


def _no_mapping(file: h5py.File) -> None:
    del file["system"]
    file["system"] = np.frombuffer(b"[1]", dtype=np.uint8)


def _wide(file: h5py.File) -> None:
    values = file["scans/number"][:]
    del file["scans/number"]
    file["scans/number"] = values.astype("<i4")


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (_no_start, "events/offsets that do not rise from 0 to 148"),
        (_falling, "frames/offsets that do not rise from 0 to 8"),
        (_no_scans, "events/offsets that do not rise from 0 to 0"),
        (_lacks, "lacks scans/injected_bq"),
        (_half_a_truth, "lacks truths/labels"),
        (_version_in_words, "schema_version 2; it needs a shard of schema version 2"),
        (_no_json, "describes no imaging system"),
        (_no_mapping, "describes no imaging system"),
        (_wide, r"scans/number of type int32 and shape \(4,\)"),
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


@pytest.mark.parametrize("value", [np.inf, -1.0])
def test_wrong_truths_are_refused(shard: Path, value: float) -> None:
    """The scan that holds the value is; the one before it is read."""

    def spoil(file: h5py.File) -> None:
        file["truths/activity_bq"][1, 0, 0, 0, 0] = value

    edited(shard, spoil)
    assert ShardReader(shard).scan(0).number == 0
    with pytest.raises(UserError, match="activity holds negative, NaN or infinite values"):
        ShardReader(shard).scan(1)


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.h5 is missing; it needs a shard of events"):
        ShardReader(tmp_path / "none.h5")


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


MANIFEST_TEXT = """{
 "plan": {},
 "plan_sha256": "p",
 "provenance": {
  "consent": "",
  "deidentified": false,
  "licence": "CC0-1.0",
  "origin": "simulated",
  "subjects": "none"
 },
 "schema_version": 2,
 "seed": 7,
 "splits": {
  "test": [],
  "train": [
   {
    "file": "a.h5",
    "scans": 3,
    "sha256": "%s"
   },
   {
    "file": "b.h5",
    "scans": 2,
    "sha256": "%s"
   }
  ]
 },
 "system": {
  "b": [
   1
  ],
  "z": "x"
 }
}
""" % ("a" * 64, "b" * 64)  # noqa: UP031 (braces)


def entry(name: str, scans: int, digit: str) -> ShardEntry:
    return ShardEntry(file=f"{name}.h5", scans=scans, sha256=digit * 64)


def test_a_manifest_is_text_that_people_read(tmp_path: Path) -> None:
    """Written out by hand: a key a line, sorted, a space deeper at each level; what stands there by
    default."""
    train = (entry("a", 3, "a"), entry("b", 2, "b"))
    made = Manifest(system={"z": "x", "b": [1]}, splits={"train": train, "test": ()}, seed=7, plan_sha256="p")
    made.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == MANIFEST_TEXT
    assert Manifest.read(tmp_path) == made
    assert (made.scans("train"), made.scans("test")) == (5, 0)
    made.write(tmp_path, "other.json")
    assert (tmp_path / "other.json").read_text(encoding="utf-8") == MANIFEST_TEXT


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        ({"train": [entry("a", 1, "1")], "test": [entry("a", 1, "2")]}, r"file a\.h5 is listed 2 times"),
        (
            {"train": [entry("a", 1, "1"), entry("b", 1, "1"), entry("c", 1, "1")]},
            "sha256 1+ is listed 3 times",
        ),
        ({"train": [entry("a", 1, "1"), entry("b", 1, "2")], "test": [entry("c", 1, "3")]}, None),
    ],
)
def test_each_shard_belongs_to_one_split(splits: dict[str, Any], told: str | None) -> None:
    """Neither a file nor a content comes twice, in two splits or in one."""

    def made() -> Manifest:
        whole = {split: tuple(entries) for split, entries in splits.items()}
        return Manifest(system={}, splits=whole, seed=0, plan_sha256="")

    if told is None:
        assert made().scans("train") == 2
        return
    with pytest.raises(ValueError, match=told):
        made()


@pytest.mark.parametrize(
    "wrong",
    [
        {"scans": 0},
        {"scans": 1.0},
        {"sha256": "a" * 63},
        {"sha256": "A" * 64},
        {"file": "x/a.h5"},
        {"file": ".a.h5"},
        {"file": ""},
    ],
)
def test_entries_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    """No scan, a fraction, no SHA-256, a path, a hidden file, no name; else it is an entry."""
    good = {"file": "a.h5", "scans": 1, "sha256": "0a" * 32}
    assert ShardEntry(**good).scans == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShardEntry(**{**good, **wrong})


@pytest.mark.parametrize("licence", ["", "  "])
def test_data_need_a_licence(licence: str) -> None:
    with pytest.raises(ValueError, match="data need a licence"):
        Provenance(licence=licence)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "has schema_version None; this program reads 2"),
        ("3", "has schema_version None; this program reads 2"),
    ],
)
def test_a_manifest_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=rf"manifest\.json {told}"):
        Manifest.read(tmp_path)


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


def test_times_outside_the_frames_are_refused(
    tmp_path: Path, tiny_system: ImagingSystem, tiny_record: Record
) -> None:
    """Milliseconds where seconds belong: the frames of the same shard end long before."""
    scan = tiny_record(1)
    slow = replace(scan, events=replace(scan.events, time_s=1e3 * scan.events.time_s))
    write_shard(tmp_path / "ms.h5", [slow], tiny_system.to_dict())
    with pytest.raises(UserError, match=r"ms\.h5: time_s spans .* s; the frames run from 0 to 131 s"):
        ShardReader(tmp_path / "ms.h5").scan(0)
