"""Writer of scans to HDF5 shards; the same scans give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_gen.core.errors import UserError
from data_gen.core.files import sha256_of, whole_file
from data_gen.storage.manifest import ShardEntry
from data_gen.storage.schema import COLUMNS, SCHEMA_VERSION, SYSTEM, StoredScan

EVENTS_A_CHUNK = 1 << 16
"""Events in a chunk of the HDF5 file; chosen, no source."""


def write_shard(path: Path, scans: Sequence[StoredScan], system: Mapping[str, Any]) -> ShardEntry:
    """Write scans of one imaging system (as plain data) to a file, whole or not at all.

    Raises:
        UserError: no scans, only some of them with a ground truth, or a column that the schema cannot hold.
    """
    if not scans:
        raise UserError(f"{path.name} would hold no scan; a shard needs at least one")
    columns = _columns(scans, path)
    with whole_file(path) as part:
        # No time stamps and one file format: rerunning must give the same bytes.
        with h5py.File(part, "w", libver=("v110", "v110"), track_order=False) as file:
            file.attrs["schema_version"] = SCHEMA_VERSION
            text = json.dumps(system, sort_keys=True).encode()
            _write(file, SYSTEM, np.frombuffer(text, dtype=np.uint8))
            for name, column in columns.items():
                _write(file, name, column)
        return ShardEntry(file=path.name, scans=len(scans), sha256=sha256_of(part))


def _columns(scans: Sequence[StoredScan], path: Path) -> dict[str, NDArray[Any]]:
    """Every data set of a shard."""
    events = [r.events for r in scans]
    frames = [f for r in scans for f in r.frames]
    columns: dict[str, NDArray[Any]] = {
        "events/offsets": _offsets([len(e) for e in events]),
        "events/pixel": np.concatenate([e.pixel.numpy() for e in events]),
        "events/energy_kev": np.concatenate([e.energy_kev.numpy() for e in events]),
        "events/time_s": np.concatenate([e.time_s.numpy() for e in events]),
        "frames/offsets": _offsets([len(r.frames) for r in scans]),
        "frames/start_s": np.array([f.start_s for f in frames]),
        "frames/duration_s": np.array([f.duration_s for f in frames]),
        "scans/counts": np.array([r.counts for r in scans]),
        "objects/density_g_cm3": np.stack([r.density.numpy() for r in scans]),
    }
    for name in ("number", "injected_bq", "body_mass_g", "counts_photopeak"):
        columns[f"scans/{name}"] = np.array([getattr(r, name) for r in scans])
    truths = [(r.activity, r.labels) for r in scans if r.activity is not None and r.labels is not None]
    if len(truths) not in (0, len(scans)):
        raise UserError(f"{path.name} would hold truths of some scans only; a shard needs all or none")
    if truths:
        columns["truths/activity_bq"] = np.stack([activity.numpy() for activity, _ in truths])
        columns["truths/labels"] = np.stack([labels.numpy() for _, labels in truths])
    return {name: _as_stored(name, column, path) for name, column in columns.items()}


def _as_stored(name: str, column: NDArray[Any], path: Path) -> NDArray[Any]:
    """A column in the type of the schema, which may round its values but not change them otherwise."""
    kind = np.dtype(COLUMNS[name][0])
    whole = kind.kind in "iu"
    if whole and column.size:
        span, low, high = np.iinfo(kind), column.min(), column.max()
        if column.dtype.kind not in "iu" or low < span.min or high > span.max:
            raise UserError(
                f"{path.name} would hold {name} of {column.dtype} from {low} to {high}; it needs whole "
                f"numbers from {span.min} to {span.max}"
            )
    if not whole and not (np.isfinite(column).all() and (column >= 0).all()):
        raise UserError(f"{path.name} would hold negative, NaN or infinite {name}; it needs finite ones")
    return column.astype(kind)


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Start of each of several stretches, and the end of the last one."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _write(file: h5py.File, name: str, column: NDArray[Any]) -> None:
    """One data set, compressed where possible; a chunk is one scan's map or a stretch of events."""
    if column.size == 0:
        file.create_dataset(name, data=column, track_times=False)
        return
    one = (1, *column.shape[1:]) if column.ndim > 1 else (min(len(column), EVENTS_A_CHUNK),)
    file.create_dataset(
        name, data=column, chunks=one, compression="gzip", compression_opts=4, shuffle=True, track_times=False
    )
