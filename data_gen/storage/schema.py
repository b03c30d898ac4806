"""The schema of a shard: data sets, types and axes (docs/shards.md describes it for readers in any
language).
"""

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
"""Type and axes of each data set. ``truths`` is absent where the ground truth is unknown."""

SYSTEM = "system"
"""Data set [byte] uint8: the imaging system as JSON in UTF-8 (an attribute could not hold a large camera)."""


@dataclass(frozen=True)
class StoredScan:
    """One scan as stored.

    Args:
        number: its index in the split.
        events: recorded by the camera.
        frames: when the camera measured.
        injected_bq: activity injected at time 0.
        body_mass_g: mass of the whole animal.
        counts_photopeak: events in the windows of :func:`data_gen.simulation.photopeak.photopeak_windows`.
        density: [z, y, x] in g/cm3.
        activity: ground truth, mean over the frames, of the head of each group, [map, z, y, x] in Bq per
            voxel; None where it is unknown.
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
        """Number of recorded events."""
        return len(self.events)

    @property
    def duration_s(self) -> float:
        """Total duration of all frames."""
        return sum(frame.duration_s for frame in self.frames)
