"""One scan from a file: a shard, a list of events, or counts per pixel and energy bin."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, checked_counts
from data_gen.core.foreign_files import check_archive
from data_gen.core.grid import EnergyAxis, EnergyWindows
from data_gen.core.hdf5 import bytes_of, check_dataset
from data_gen.core.memory import check_memory
from data_gen.storage import ShardReader

Array = NDArray[Any]
_EVENTS = ("pixel", "energy_kev")
_HISTOGRAM = ("counts", "edges_kev")
_KNOWN = {*_EVENTS, *_HISTOGRAM, "time_s", "duration_s"}
COPIES = 3
"""Times that a column is in memory while it is read: as stored and in two types; chosen."""


@dataclass(frozen=True)
class Histogram:
    """Counts [pixel, bin] between rising energies."""

    counts: Tensor
    axis: EnergyWindows

    def on(self, axis: EnergyAxis, source: str) -> Tensor:
        """The counts summed into coarser bins [pixel, bin].

        Raises:
            UserError: an edge of the coarser bins is none of these bins' edges.
        """
        mine, wanted = self.axis.edges_kev, axis.edges_kev
        place = (wanted[:, None] - mine).abs().argmin(1)
        off = (mine[place] - wanted).abs() > 1e-6 * wanted.clamp_min(1)
        if bool(off.any()):
            missing = float(wanted[off][0])
            raise UserError(
                f"{source}: edges_kev lacks {missing:g} keV, where a window of this method begins; "
                "it needs every window edge among its own"
            )
        total = torch.cat((torch.zeros(len(self.counts), 1), self.counts.cumsum(1)), dim=1)
        return total[:, place].diff(dim=1)


@dataclass(frozen=True)
class ScanFile:
    """A scan and what its file says about it; None where it does not say.

    Args:
        source: name of the file, for messages.
        data: events or histogram.
        duration_s: measured time.
        density: [z, y, x] in g/cm3, on the grid of ``system``.
        system: the imaging system as plain data.
    """

    source: str
    data: EventList | Histogram
    duration_s: float | None = None
    density: Tensor | None = None
    system: Mapping[str, Any] | None = None

    def checked(self, pixels: int) -> ScanFile:
        """The same scan, after checking that it is one of a camera with so many pixels and not empty.

        Raises:
            UserError: another number of pixels, or no counts.
        """
        if isinstance(self.data, EventList):
            self.data.checked(pixels, self.source)
        elif len(self.data.counts) != pixels:
            found = len(self.data.counts)
            raise UserError(f"{self.source}: counts has {found} pixels; this camera has {pixels}")
        return self

    def histogram(self, pixels: int, axis: EnergyAxis) -> Tensor:
        """Counts [pixel, bin] on an axis.

        Raises:
            UserError: the scan holds no counts there.
        """
        if isinstance(self.data, EventList):
            counts = self.data.histogram(pixels, axis)
        else:
            counts = self.data.on(axis, self.source)
        check_not_empty(float(counts.sum()), self.source, axis)
        return counts


def check_not_empty(counts: float, source: str, axis: EnergyAxis) -> None:
    """Refuse a scan without counts: its image would be empty whatever was injected.

    Raises:
        UserError: there are none.
    """
    if counts <= 0:
        low, high = float(axis.edges_kev[0]), float(axis.edges_kev[-1])
        raise UserError(f"{source} holds no counts at {low:g}-{high:g} keV; a reconstruction needs some")


def read_scan(path: Path, number: int = 0) -> ScanFile:
    """The scan in a file.

    A shard of ours is known by its schema version, and ``number`` says which of its scans is meant. Any
    other HDF5 or .npz file needs the columns ``pixel`` and ``energy_kev``, or ``counts`` [pixel, bin] and
    ``edges_kev`` [bin + 1]; ``duration_s`` may stand beside either. ``docs/scans.md`` has an example.

    Raises:
        UserError: the file is none of these, is damaged, or holds impossible values.
    """
    if not path.is_file():
        raise UserError(f"input is {path}, which is missing; it needs a file of events or counts")
    if path.suffix == ".npz":
        return _scan(_read_npz(path), path)
    try:
        with h5py.File(path, "r") as file:
            shard = "schema_version" in file.attrs
            columns = {} if shard else _read_hdf5(file, path)
    except OSError as error:
        raise UserError(f"input is {path}, which is truncated or no HDF5 or .npz file") from error
    return _of_shard(path, number) if shard else _scan(columns, path)


def _of_shard(path: Path, number: int) -> ScanFile:
    reader = ShardReader(path)
    if not 0 <= number < len(reader):
        raise UserError(f"scan is {number}; {path} holds the scans 0 to {len(reader) - 1}")
    record = reader.scan(number)
    return ScanFile(f"{path}, scan {number}", record.events, record.duration_s, record.density, reader.system)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        check_archive(path, _KNOWN)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in _KNOWN}
    except UserError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"input is {path}, which is damaged or holds Python objects; it needs arrays"
        ) from error


def _read_hdf5(file: h5py.File, path: Path) -> dict[str, Array]:
    """The known data sets at the top, none of which may lie in another file."""
    columns = {}
    for name in _KNOWN & set(file):
        item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
            raise UserError(f"{path}: {name} lies in another file; it needs to be a data set of this one")
        if item.dtype.kind not in "iuf":
            raise UserError(f"{path}: {name} has type {item.dtype}; it needs numbers")
        check_dataset(item, name, lambda what: UserError(f"{path} {what}; it needs a whole file"))
        check_memory(COPIES * bytes_of(item), f"{path}: {name} of shape {item.shape}")
        columns[name] = np.asarray(item[()])
    return columns


def _scan(columns: Mapping[str, Array], path: Path) -> ScanFile:
    """A scan from named arrays."""
    duration = columns.get("duration_s")
    if duration is not None and (duration.size != 1 or not 0 < float(duration.item()) < math.inf):
        raise UserError(f"{path}: duration_s is {duration.tolist()}; it needs a positive time in s")
    seconds = None if duration is None else float(duration.item())
    if set(_HISTOGRAM) <= set(columns):
        return ScanFile(str(path), _histogram(columns, path), seconds)
    if set(_EVENTS) <= set(columns):
        return ScanFile(str(path), _events(columns, path), seconds)
    raise UserError(
        f"{path} holds {', '.join(sorted(columns)) or 'nothing known'}; it needs pixel and energy_kev, "
        "or counts and edges_kev"
    )


def _events(columns: Mapping[str, Array], path: Path) -> EventList:
    pixel, energy = columns["pixel"], columns["energy_kev"]
    time = columns.get("time_s", np.zeros(pixel.shape))
    if not pixel.ndim == energy.ndim == time.ndim == 1 or pixel.dtype.kind not in "iu":
        raise UserError(
            f"{path}: pixel is {pixel.dtype} of shape {pixel.shape}; it needs whole numbers [event]"
        )
    return EventList(
        *(torch.from_numpy(c.astype(t)) for c, t in ((pixel, "i8"), (energy, "f4"), (time, "f8")))
    )


def _histogram(columns: Mapping[str, Array], path: Path) -> Histogram:
    counts, edges = columns["counts"], columns["edges_kev"]
    if counts.ndim != 2 or edges.shape != (counts.shape[1] + 1,):
        raise UserError(
            f"{path}: counts has shape {counts.shape} and edges_kev {edges.shape}; "
            "they need [pixel, bin] and [bin + 1]"
        )
    checked = checked_counts(torch.from_numpy(counts.astype("f4")), f"{path}: counts")
    return Histogram(checked, EnergyWindows(edges.astype("f8").tolist()))
