"""The scans of one split of a data set: events as stored, or counts by pixel and energy window."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.core.grid import EnergyWindows, bin_index
from data_gen.core.random import seeded_generator
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import checked_labels
from data_gen.readout import silent_panels
from data_gen.storage import Manifest, ShardReader, StoredScan
from hspi_learn.reconstructor import ScanBatch


class Scans:
    """Event-level access to the scans of a split; every file is checked against the manifest's hash once.

    Events of pixels that the imaging system calls dead are left out.

    Args:
        folder: folder of the data set.
        manifest: manifest of the data set.
        split: name of the split.

    Raises:
        UserError: no such split, or a shard that is missing, damaged or of another system.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        if split not in manifest.splits:
            raise UserError(f"{folder} has no split {split!r}; it has {', '.join(manifest.splits)}")
        self.split = split
        system = ImagingSystem.from_dict(manifest.system)
        self.camera, self.pixels, self.live = system.camera, system.camera.pixel_count, system.live
        self._readers = [ShardReader(manifest.checked_file(folder, e)) for e in manifest.splits[split]]
        self._first = [0]
        for reader, entry in zip(self._readers, manifest.splits[split], strict=True):
            if len(reader) != entry.scans or reader.system != manifest.system:
                raise UserError(
                    f"{reader.path} does not belong to the manifest of {folder}; generate it again"
                )
            self._first.append(self._first[-1] + len(reader))

    def __len__(self) -> int:
        return self._first[-1]

    def events(self, index: int) -> EventList:
        """The events of a scan."""
        reader, place = self._place(index)
        return self._live_ones(reader.events(place).checked(self.pixels, str(reader.path)))

    def sample(self, index: int) -> StoredScan:
        """All that is stored of a scan."""
        reader, place = self._place(index)
        record = reader.scan(place)
        return replace(record, events=self._live_ones(record.events.checked(self.pixels, str(reader.path))))

    def silent_panels(self, events: EventList) -> tuple[int, ...]:
        """Panels that recorded nothing in a scan, though the others leave no doubt that they should have."""
        counts = torch.bincount(events.pixel, minlength=self.pixels)
        return silent_panels(counts, self.camera, self.live)

    def _live_ones(self, events: EventList) -> EventList:
        """The events of pixels that are not dead."""
        return events if self.live is None else events.select(self.live[events.pixel] > 0)

    def _place(self, index: int) -> tuple[ShardReader, int]:
        number = range(len(self))[index]
        shard = bisect_right(self._first, number) - 1
        return self._readers[shard], number - self._first[shard]


class KeptScan(NamedTuple):
    """A scan in the form that is kept in memory: events as flat indices into [pixel, window]."""

    flat: Tensor
    """Pixel times number of windows plus window, [event] int32."""
    duration_s: Tensor
    density: Tensor
    activity: Tensor
    labels: Tensor

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(tensor.nbytes for tensor in self)


class CountedScans(Dataset[ScanBatch], ABC):
    """Scans as histograms over energy windows, each a :class:`ScanBatch` without its batch axis.

    Args:
        pixels: pixels of the camera.
        windows: energy windows in which the counts are summed.
        memory_bytes: scans are kept in memory up to this size, the others read again each time.
    """

    def __init__(self, pixels: int, windows: EnergyWindows, memory_bytes: int) -> None:
        self.pixels, self.windows = pixels, windows
        self._free = memory_bytes
        self._kept: dict[int, KeptScan] = {}

    @abstractmethod
    def __len__(self) -> int:
        """Number of scans."""

    @abstractmethod
    def read(self, index: int) -> KeptScan:
        """A scan as it is kept."""

    def by_object(self) -> Sequence[int]:
        """All indices; scans of the same object follow each other."""
        return range(len(self))

    def __getitem__(self, index: int) -> ScanBatch:
        scan = self._scan(index)
        counts = torch.bincount(scan.flat, minlength=self.pixels * self.windows.count).to(torch.float32)
        return ScanBatch(
            counts.reshape(self.pixels, self.windows.count),
            scan.duration_s,
            scan.density,
            scan.activity,
            scan.labels.long(),
            torch.tensor(index),
        )

    def _scan(self, index: int) -> KeptScan:
        if index in self._kept:
            return self._kept[index]
        scan = self.read(index)
        self.keep(index, scan)
        return scan

    def keep(self, index: int, scan: KeptScan) -> None:
        """Keep a scan in memory if there is room."""
        if scan.bytes <= self._free:
            self._free -= scan.bytes
            self._kept[index] = scan


class WindowedScans(CountedScans):
    """Stored scans as histograms over energy windows.

    Args:
        scans: the scans.
        windows: energy windows in which the counts are summed.
        count_fraction: binomial share of the events that is used, the same share in every epoch.
        seed: random seed of that share.
        memory_bytes: scans are kept in memory up to this size, the others read again each time.

    Raises:
        UserError: the scans have no truth to learn from.
    """

    def __init__(
        self, scans: Scans, windows: EnergyWindows, count_fraction: float, seed: int, memory_bytes: int
    ) -> None:
        super().__init__(scans.pixels, windows, memory_bytes)
        self.scans, self.count_fraction, self.seed = scans, count_fraction, seed
        self._told: set[tuple[int, ...]] = set()

    def __len__(self) -> int:
        return len(self.scans)

    def read(self, index: int) -> KeptScan:
        """A scan as it is kept."""
        record = self.scans.sample(index)
        if record.activity is None or record.labels is None:
            raise UserError(
                f"scan {index} of split {self.scans.split} has no truth; training and testing need it"
            )
        self._warn_of_silence(index, record.events)
        generator = seeded_generator(self.seed, "thinning", self.scans.split, index)
        events = record.events.thinned(self.count_fraction, generator)
        window = bin_index(self.windows, events.energy_kev)
        inside = window >= 0
        flat = events.pixel[inside] * self.windows.count + window[inside]
        # A share of the events, background included, is what a scan of that share of the time would record.
        duration = torch.tensor(record.duration_s * self.count_fraction, dtype=torch.float32)
        labels = checked_labels(record.labels, f"scan {index} of split {self.scans.split}")
        return KeptScan(flat.int(), duration, record.density, record.activity, labels.to(torch.uint8))

    def _warn_of_silence(self, index: int, events: EventList) -> None:
        """Name panels that recorded nothing, once for each combination."""
        silent = self.scans.silent_panels(events)
        if silent and silent not in self._told:
            self._told.add(silent)
            warnings.warn(
                f"panels {list(silent)} recorded nothing in scan {index} of split {self.scans.split}; name "
                "their pixels in dead_pixels of the data set's system, or activity comes out too low",
                stacklevel=2,
            )


def collate(scans: list[ScanBatch]) -> ScanBatch:
    """Scans one after another along a new batch axis."""
    return ScanBatch(*(torch.stack(column) for column in zip(*scans, strict=True)))
