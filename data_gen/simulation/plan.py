"""The plan of a simulated data set: numbers of scans, and ranges of counts, activity (Bq) and times (s)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from data_gen import phantoms
from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import VOXEL_BYTES, EnergyBins, VoxelGrid
from data_gen.core.memory import check_memory
from data_gen.core.random import checked_range
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import DecayChain, activities_at
from data_gen.phantoms import PhantomFamily, family_for
from data_gen.readout import EventReadout, Readout
from data_gen.simulation.exposure import ExposureLimits
from data_gen.storage import SCHEMA_VERSION

CODE_VERSION = 2
"""Raised whenever the scans of a plan change, so that no data set is completed with scans of two kinds."""

USUAL_START_S = (3600.0, 172_800.0)
"""From an hour to two days after the injection."""

LATEST_HALF_LIVES = 3.0
"""Half-lives of the injected nuclide after which scans usually start, at most; chosen, no source."""

LEAST_LEFT = 0.01
"""Activity of the imaged members over that injected, below which no scan may start; chosen, no source."""

EVENT_BYTES = 80
"""Memory of an event of a scan that is simulated: 20 bytes as kept, sorted and recorded copies; chosen."""

SHARD_BYTES = 1000
"""Memory of a shard in the list of those to make and in the manifest; chosen."""


@dataclasses.dataclass(frozen=True)
class DatasetPlan:
    """A simulated data set; its scans follow from this and from nothing else.

    Args:
        camera: the camera.
        chain: decay chain of the injected nuclide.
        phantom: who or what is scanned.
        grid: voxels of the truth.
        energy_bins: the fine energy axis that events are drawn on.
        sizes: split (train, validation, test) to its number of scans.
        counts: accepted events that a scan aims at, [lowest, highest], log-uniform.
        injected_bq: activity that may be injected, [lowest, highest].
        duration_s: time that a scan may take, [lowest, highest].
        start_s: time from injection to scan, [lowest, highest]; None: from an hour to two days, and sooner
            for nuclides of which little is left by then (:func:`usual_start_s`).
        seed: random seed of the whole data set.
        shard_size: scans in a file.
        groups: which chain members share a map; None ties those that live shorter than ten minutes.
        options: how finely the forward model is computed and what it counts.
        licence: under which the data set may be used.
        readout: electronics of the camera's modules; without dead time or pile-up unless told otherwise.
        packages: version and SHA-256 of the source files of each package of others that phantom or readout
            come from, by its name: scans follow from their code, too.
        dead_pixels: pixels of the camera that record nothing.

    Raises:
        UserError: a size or a range is wrong, no licence is given, a shard does not fit into memory, scans
            start when nothing is left to see, or the phantom has no meaning for the nuclide.
    """

    camera: Camera
    chain: DecayChain
    phantom: PhantomFamily
    grid: VoxelGrid
    energy_bins: EnergyBins
    sizes: Mapping[str, int]
    counts: Sequence[float]
    injected_bq: Sequence[float]
    duration_s: Sequence[float]
    start_s: Sequence[float] | None = None
    seed: int = 0
    shard_size: int = 8
    groups: Mapping[str, Sequence[str]] | None = None
    options: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    licence: str = "CC0-1.0"
    readout: Readout = dataclasses.field(default_factory=lambda: EventReadout(0.0))
    packages: Mapping[str, Mapping[str, str | None]] = dataclasses.field(default_factory=dict)
    dead_pixels: Sequence[int] = ()

    def __post_init__(self) -> None:
        wrong = [f"{split}: {n}" for split, n in self.sizes.items() if n < 1]
        if wrong or not self.sizes or not all(split.isidentifier() for split in self.sizes):
            raise UserError(
                f"dataset.sizes is {dict(self.sizes)}; each split needs a name and 1 scan or more"
            )
        if self.shard_size < 1:
            raise UserError(f"dataset.shard_size is {self.shard_size}; it needs at least 1 scan")
        if not self.licence.strip():
            raise UserError("dataset.licence is empty; data need an SPDX name or a sentence")
        if self.start_s is None:
            object.__setattr__(self, "start_s", usual_start_s(self.chain))
        for name in ("counts", "injected_bq", "duration_s", "start_s"):
            span = checked_range(f"dataset.{name}", getattr(self, name))
            if name != "start_s" and span[0] <= 0:
                raise UserError(f"dataset.{name} is {list(span)}; its lowest value needs to be above 0")
            object.__setattr__(self, name, span)
        object.__setattr__(self, "phantom", family_for(self.phantom, self.chain))
        self._check_memory()
        _check_start(self.system, self.limits.start_s[1])

    def _check_memory(self) -> None:
        """Refuse scans and lists of them that do not fit: a shard is in memory until it is written."""
        most, scans = self.counts[1], min(self.shard_size, max(self.sizes.values()))
        needed = scans * (EVENT_BYTES * most + VOXEL_BYTES * self.grid.voxels)
        check_memory(needed, f"dataset.counts {list(self.counts)} in shards of {scans} scans")
        shards = sum(self.sizes.values()) // self.shard_size
        check_memory(SHARD_BYTES * shards, f"dataset.sizes {dict(self.sizes)}, a list of {shards} shards,")

    @property
    def system(self) -> ImagingSystem:
        """Camera, chain, grid and energies together."""
        parts = (self.camera, self.chain, self.grid, self.energy_bins, self.groups, self.options)
        return ImagingSystem(*parts, dead_pixels=self.dead_pixels)

    @property
    def limits(self) -> ExposureLimits:
        """The ranges that exposures are drawn from."""
        spans = (
            checked_range(n, getattr(self, n)) for n in ("counts", "injected_bq", "duration_s", "start_s")
        )
        return ExposureLimits(*spans)

    @property
    def description(self) -> dict[str, Any]:
        """What a manifest says of the plan besides the system, the sizes and the seed, as plain data.

        Phantom and readout stand there as in a config, by the name of their class and all its settings.
        """
        return {
            "phantom": described(self.phantom),
            "readout": described(self.readout),
            **{name: list(span) for name, span in dataclasses.asdict(self.limits).items()},
            "shard_size": self.shard_size,
            "packages": {name: dict(record) for name, record in self.packages.items()},
        }

    @property
    def sha256(self) -> str:
        """Hash of everything that the scans follow from, code of other packages included."""
        parts = {
            "schema_version": SCHEMA_VERSION,
            "code_version": CODE_VERSION,
            "system": self.system.to_dict(),
            "materials": self.system.materials,
            "sizes": dict(self.sizes),
            "seed": self.seed,
            "licence": self.licence,
            **self.description,
            # A version may be told differently where a package is installed and where it is only on the path.
            "packages": {name: record.get("sha256") for name, record in self.packages.items()},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def usual_start_s(chain: DecayChain) -> tuple[float, float]:
    """From an hour to two days after the injection; of short-lived nuclides, half a half-life to three."""
    half_life_s = chain.half_life_s(chain.members[0])
    earliest, latest = USUAL_START_S
    return min(earliest, 0.5 * half_life_s), min(latest, LATEST_HALF_LIVES * half_life_s)


def _check_start(system: ImagingSystem, latest_s: float) -> None:
    """Refuse scans that start when next to nothing is left of the activity."""
    left = activities_at(system.chain, 1.0, latest_s)
    if max(left[head] for head in system.groups.heads) < LEAST_LEFT:
        nuclide, wanted = system.chain.members[0], usual_start_s(system.chain)
        half_life_s = system.chain.half_life_s(nuclide)
        raise UserError(
            f"dataset.start_s ends at {latest_s:g} s, {latest_s / half_life_s:.0f} half-lives of {nuclide}, "
            "when less than 1 % of the activity is left; it needs earlier scans, such as "
            f"[{wanted[0]:.0f}, {wanted[1]:.0f}]"
        )


def described(part: object) -> Any:
    """A frozen dataclass as plain data: its class under ``_target_``, as configs name it, and its fields.

    Raises:
        UserError: it is no dataclass.
    """
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        raise UserError(f"plan holds a {type(part).__name__}; it needs a dataclass of plain data")
    fields = {field.name: _plain(getattr(part, field.name)) for field in dataclasses.fields(part)}
    return {"_target_": _public_name(type(part)), **fields}


def phantom_of_plan(description: Mapping[str, Any]) -> PhantomFamily:
    """The phantoms that a manifest's plan describes, if they are of data_gen.

    Raises:
        UserError: they are of another package, or of no family that is known here.
    """
    package, _, name = str(description.get("_target_", "")).rpartition(".")
    kind = (
        getattr(phantoms, name, None) if package == phantoms.__name__ and name in phantoms.__all__ else None
    )
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UserError(
            f"the data set's phantom is {description.get('_target_')!r}; the manifest tells enough only of "
            "one of data_gen.phantoms"
        )
    settings = {key: value for key, value in description.items() if key != "_target_"}
    parts = {
        key: value for key, value in settings.items() if isinstance(value, Mapping) and "_target_" in value
    }
    try:
        family: Any = kind(**settings | {key: phantom_of_plan(part) for key, part in parts.items()})
    except TypeError as error:
        raise UserError(f"the data set's plan describes no {name} that is known here ({error})") from error
    return cast(PhantomFamily, family)


def limits_of_plan(description: Mapping[str, Any]) -> ExposureLimits:
    """The ranges that a manifest's plan describes.

    Raises:
        UserError: one is missing or no range.
    """
    names = [field.name for field in dataclasses.fields(ExposureLimits)]
    missing = [name for name in names if name not in description]
    if missing:
        raise UserError(f"the data set's plan lacks {missing[0]}; generate it again")
    return ExposureLimits(*(checked_range(f"plan.{name}", description[name]) for name in names))


def _plain(value: object) -> Any:
    """What JSON can hold of a value; dataclasses inside of it are :func:`described`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return described(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _public_name(kind: type) -> str:
    """The shortest dotted name under which a class is exported."""
    parts = kind.__module__.split(".")
    packages = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    exporting = (
        name
        for name in packages
        if name in sys.modules and vars(sys.modules[name]).get(kind.__qualname__) is kind
    )
    return f"{next(exporting, kind.__module__)}.{kind.__qualname__}"
