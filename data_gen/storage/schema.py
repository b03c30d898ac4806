"""What a shard holds; docs/shards.md tells the same to people."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from data_gen.core.events import EventList, Frame

SCHEMA_VERSION = 2

COLUMNS: dict[str, tuple[str, str]] = {
    "events/offsets": ("<i8", "scan+1"),
    "events/pixel": ("<i4", "event"),
    "events/energy_kev": ("<f4", "event"),
    "events/time_s": ("<f8", "event"),
    "frames/offsets": ("<i8", "scan+1"),
    "frames/start_s": ("<f8", "frame"),
    "frames/duration_s": ("<f8", "frame"),
    "scans/number": ("<i8", "scan"),
    "scans/injected_bq": ("<f8", "scan"),
    "scans/body_mass_g": ("<f8", "scan"),
    "scans/counts": ("<i8", "scan"),
    "scans/counts_photopeak": ("<i8", "scan"),
    "objects/density_g_cm3": ("<f4", "scan,z,y,x"),
    "truths/labels": ("|u1", "scan,z,y,x"),
    "truths/activity_bq": ("<f4", "scan,map,z,y,x"),
}
"""Data set to its type and what its axes count. ``truths`` is absent where nobody knows the truth."""

SYSTEM = "system"
"""Data set [byte] uint8: the imaging system as JSON in UTF-8 (an attribute could not hold a large camera)."""

MOST_BYTES = 64 * 2**30
"""Largest data set that a reader accepts, uncompressed."""


@dataclass(frozen=True)
class ScanRecord:
    """One scan as stored.

    Args:
        number: its place in the split.
        events: what the camera recorded.
        frames: when it recorded.
        injected_bq: activity injected at time 0.
        body_mass_g: mass of the whole animal.
        counts_photopeak: events in the windows of :func:`data_gen.simulation.photopeak.photopeak_windows`.
        density: [z, y, x] in g/cm3.
        activity: the truth, mean over the frames, of the head of each group, [map, z, y, x] in Bq per
            voxel; None where nobody knows it.
        labels: organ of each voxel [z, y, x] int64; None as above.
    """

    number: int
    events: EventList
    frames: tuple[Frame, ...]
    injected_bq: float
    body_mass_g: float
    counts_photopeak: int
    density: Tensor
    activity: Tensor | None = None
    labels: Tensor | None = None

    @property
    def counts(self) -> int:
        """All accepted events."""
        return len(self.events)

    @property
    def duration_s(self) -> float:
        """Time measured in all frames."""
        return sum(frame.duration_s for frame in self.frames)
