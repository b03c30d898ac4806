"""Reader of scans from HDF5 shards, which validates everything it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame
from data_gen.core.foreign_files import JSON_BYTES, json_data
from data_gen.core.hdf5 import bytes_of, bytes_of_chunk, tree_of
from data_gen.core.memory import check_memory
from data_gen.storage.schema import COLUMNS, SCHEMA_VERSION, SYSTEM, StoredScan

_EVENT_BYTES = 80
"""Memory of an event while it is read: 16 bytes as stored, 20 as tensors, and copies of both; chosen."""


class ShardReader:
    """The scans of one shard.

    A malicious file could refer to other files of this machine, load a filter, or claim sizes that fill the
    memory: such a file is refused before any of its data is read.

    Args:
        path: the file.

    Raises:
        UserError: the file is truncated, of another version, or not of the schema of a shard.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with self._open() as file, self._told():
            self._check(file)
            self.system: dict[str, Any] = self._system(file)
            self.has_truths = "truths" in file
            self._events = self._offsets(file, "events")
            self._frames = self._offsets(file, "frames")
        longest = int(np.diff(self._events).max())
        check_memory(_EVENT_BYTES * longest, f"{self.path}: a scan of {longest} events")

    def __len__(self) -> int:
        return len(self._events) - 1

    def scan(self, index: int) -> StoredScan:
        """One scan.

        Raises:
            UserError: its data is damaged, or its events are not of its camera.
        """
        with self._open() as file, self._told():
            return self._read(file, range(len(self))[index])

    def events(self, index: int) -> EventList:
        """The events of one scan, without its maps."""
        with self._open() as file, self._told():
            return self._read_events(file, range(len(self))[index])

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise UserError(f"{self.path} is missing; it needs a shard of events")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise self._wrong("is truncated or no HDF5 file") from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell in a sentence what h5py and numpy say to a damaged file, each in its own way."""
        try:
            yield
        except UserError:
            raise
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise self._wrong(f"cannot be read ({' '.join(str(error).split())})") from error

    def _wrong(self, what: str) -> UserError:
        return UserError(f"{self.path} {what}; it needs a shard of schema version {SCHEMA_VERSION}")

    def _check(self, file: h5py.File) -> None:
        """Refuse a file that is not exactly a shard of this version."""
        version = file.attrs.get("schema_version")
        if not isinstance(version, (int, np.integer)) or version != SCHEMA_VERSION:
            raise self._wrong(f"has schema_version {version}")
        found = tree_of(file, 4 * len(COLUMNS), self._wrong)
        truths = "truths" in found
        wanted = {SYSTEM, *(name for name in COLUMNS if truths or not name.startswith("truths/"))}
        data = {name: item for name, item in found.items() if item is not None}
        if data.keys() != wanted:
            odd = sorted(data.keys() ^ wanted)[0]
            raise self._wrong(f"{'holds' if odd in data else 'lacks'} {odd}")
        sizes = {"scan": len(file["events/offsets"]) - 1}
        sizes["scan+1"] = sizes["scan"] + 1
        for name, item in data.items():
            self._check_dataset(name, item, sizes)
        check_memory(_memory_of_one(data, sizes["scan"]), f"{self.path}: one of its scans")

    def _check_dataset(self, name: str, data: h5py.Dataset, sizes: dict[str, int]) -> None:
        """Refuse types and shapes that are not the schema's."""
        kind, axes = ("|u1", "byte") if name == SYSTEM else COLUMNS[name]
        if data.dtype != np.dtype(kind) or data.ndim != axes.count(",") + 1:
            raise self._wrong(f"has {name} of type {data.dtype} and shape {data.shape}")
        for axis, length in zip(axes.split(","), data.shape, strict=True):
            if sizes.setdefault(axis, length) != length:
                raise self._wrong(f"has {name} of shape {data.shape} beside {axis} = {sizes[axis]}")

    def _system(self, file: h5py.File) -> dict[str, Any]:
        try:
            system = json_data(bytes(file[SYSTEM][:]), f"{self.path}: {SYSTEM}")
        except UserError:
            raise
        except (ValueError, OSError) as error:
            raise self._wrong("describes no imaging system") from error
        if not isinstance(system, dict):
            raise self._wrong("describes no imaging system")
        grid = system.get("grid")
        shape = list(file["objects/density_g_cm3"].shape[1:])
        if not isinstance(grid, Mapping) or grid.get("shape") != shape:
            raise self._wrong(f"has maps of shape {shape}, which is not that of its grid")
        return system

    def _offsets(self, file: h5py.File, group: str) -> NDArray[np.int64]:
        """Offsets of a group, ascending from 0 to its length."""
        try:
            offsets: NDArray[np.int64] = file[f"{group}/offsets"][:]
        except OSError as error:
            raise self._wrong(f"cannot be read ({error})") from error
        length = len(file[f"{group}/{'pixel' if group == 'events' else 'start_s'}"])
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != length or (np.diff(offsets) < 0).any():
            raise self._wrong(f"has {group}/offsets that do not rise from 0 to {length}")
        return offsets

    def _read(self, file: h5py.File, i: int) -> StoredScan:
        table = file["scans"]
        first, last = self._frames[i : i + 2]
        frames = zip(file["frames/start_s"][first:last], file["frames/duration_s"][first:last], strict=True)
        truths = file["truths"] if self.has_truths else None
        return StoredScan(
            number=int(table["number"][i]),
            events=self._read_events(file, i),
            frames=tuple(Frame(float(start), float(duration)) for start, duration in frames),
            injected_bq=float(table["injected_bq"][i]),
            body_mass_g=float(table["body_mass_g"][i]),
            counts_photopeak=int(table["counts_photopeak"][i]),
            density=self._finite("density", file["objects/density_g_cm3"][i]),
            activity=None if truths is None else self._finite("activity", truths["activity_bq"][i]),
            labels=None if truths is None else torch.from_numpy(truths["labels"][i]).long(),
        )

    def _read_events(self, file: h5py.File, i: int) -> EventList:
        first, last = self._events[i : i + 2]
        group = file["events"]
        return EventList(
            torch.from_numpy(group["pixel"][first:last]).long(),
            torch.from_numpy(group["energy_kev"][first:last]),
            torch.from_numpy(group["time_s"][first:last]),
        )

    def _finite(self, name: str, values: NDArray[np.float32]) -> torch.Tensor:
        """A map, after checking that it is finite and not negative."""
        if not np.isfinite(values).all() or (values < 0).any():
            raise UserError(
                f"{self.path}: {name} holds negative, NaN or infinite values; it needs finite ones"
            )
        return torch.from_numpy(values)


def _memory_of_one(data: Mapping[str, h5py.Dataset], scans: int) -> int:
    """Bytes that one scan of a shard needs besides its events, of the shard's sizes alone.

    Maps are read scan by scan, a chunk at least, and then copied to other types; the rest is read whole.
    """
    total = 0
    for name, item in data.items():
        if name == SYSTEM:
            total += JSON_BYTES * bytes_of(item)
        elif item.ndim > 1:
            total += bytes_of_chunk(item) + 4 * bytes_of(item) // max(scans, 1)
        elif not name.startswith("events/") or name == "events/offsets":
            total += bytes_of(item)
    return total
