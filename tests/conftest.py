"""A tiny camera and made-up scans of it, for tests of storage and data modules: no ray is traced."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from data_gen.camera import Camera
from data_gen.core.events import EventList, Frame
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from data_gen.storage import Manifest, Provenance, StoredScan, write_shard

LONGEST_FIRST = ("test_physics_suite.py", "test_wheel.py", "test_evaluate_and_reconstruct.py", "test_tune.py")
"""Files of minutes: begun first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front; all others keep their order."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


# No deadlines: how long an example takes is the machine's affair.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture(scope="session", autouse=True)
def matrix_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests and their processes: a matrix is built once, and none of the user's is read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "matrices"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSPI_CACHE_DIR", str(folder))
        yield folder


TINY_CAMERA = {
    "name": "tiny",
    "panels": {"angles_deg": [0.0, 90.0, 180.0, 270.0], "detector_mm": 38.0},
    "collimator": {
        "material": "tungsten",
        "plane_mm": 28.0,
        "plate_mm": 8.0,
        "shape": "loft_hole",
        "diameter_mm": 1.0,
        "apertures": [1, 1],
        "aim": "isocentre",
        "septa": True,
    },
    "detector": {
        "material": "CdTe",
        "thickness_mm": 2.0,
        "rows": 6,
        "columns": 6,
        "pitch_mm": 3.0,
        "background_cps_per_kev": 1e-7,
        "response": {"kind": "cdte"},
    },
}


@pytest.fixture(scope="session")
def tiny_system() -> ImagingSystem:
    """Four panels of 6x6 pixels around 6x6x6 voxels of 4 mm; Ra-223, two maps."""
    camera = Camera.from_dict(TINY_CAMERA)
    return ImagingSystem(
        camera,
        decay_chain("Ra-223"),
        VoxelGrid((6, 6, 6), 4.0),
        EnergyBins(20.0, 600.0, 58),
        options=ModelOptions(scatter_terms=()),
    )


@pytest.fixture(scope="session")
def tiny_record(tiny_system: ImagingSystem) -> Callable[[int], StoredScan]:
    """A made-up scan of the tiny system by its number; number 2 has no events."""

    def record(number: int) -> StoredScan:
        generator = seeded_generator("tiny", number)
        count = 0 if number == 2 else 40 + 7 * number
        shape = tiny_system.grid.shape
        events = EventList(
            torch.randint(tiny_system.camera.pixel_count, (count,), generator=generator),
            20.0 + 580.0 * torch.rand(count, generator=generator),
            torch.rand(count, generator=generator, dtype=torch.float64).sort().values * 60.0,
        )
        return StoredScan(
            number=number,
            events=events,
            frames=(Frame(0.0, 60.0), Frame(100.0, 30.0 + number)),
            injected_bq=1e4 + number,
            body_mass_g=20.0,
            counts_photopeak=count // 3,
            density=torch.rand(shape, generator=generator),
            activity=torch.rand(len(tiny_system.groups.names), *shape, generator=generator),
            labels=torch.randint(5, shape, generator=generator),
        )

    return record


@pytest.fixture(scope="session")
def tiny_dataset(
    tiny_system: ImagingSystem, tiny_record: Callable[[int], StoredScan]
) -> Callable[..., Manifest]:
    """Writes a made-up data set of 10 + 3 + 2 scans into a folder."""

    def write(folder: Path, **provenance: Any) -> Manifest:
        splits, system = {}, tiny_system.to_dict()
        for split, shards in {"train": [4, 4, 2], "validation": [3], "test": [2]}.items():
            entries, first = [], 0
            for k, size in enumerate(shards):
                records = [tiny_record(first + i) for i in range(size)]
                entries.append(write_shard(folder / f"{split}-{k}.h5", records, system))
                first += size
            splits[split] = tuple(entries)
        made = Provenance(**provenance)
        manifest = Manifest(system=system, splits=splits, seed=0, plan_sha256="0" * 64, provenance=made)
        manifest.write(folder)
        return manifest

    return write


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One GB may be used, and the system itself refuses this process more than that beyond what it has."""
    monkeypatch.setenv("HSPI_MEMORY_GB", "1")
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 10**9, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
