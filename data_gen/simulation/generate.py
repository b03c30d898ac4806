"""Generation of a data set: shards of simulated scans, on several processes, resumed after an
interruption.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory, keep_freed_memory
from data_gen.core.parallel import end_with_parent
from data_gen.core.random import seeded_generator
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import PhantomFamily
from data_gen.readout import CameraReadout, Readout, modules_of
from data_gen.simulation.exposure import ExposureLimits
from data_gen.simulation.photopeak import photopeak_windows
from data_gen.simulation.plan import DatasetPlan
from data_gen.simulation.scan import ScanSimulator
from data_gen.storage import DERIVED, MANIFEST, Manifest, Provenance, ShardEntry, write_shard

__all__ = ["DatasetPlan", "generate"]

UNFINISHED = "manifest.unfinished.json"
"""Lists the shards made so far; becomes ``manifest.json`` with the last one."""


@dataclass(frozen=True)
class ShardTask:
    """The scans first..last-1 of a split, which go to one file."""

    split: str
    first: int
    last: int

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.split}-{self.first:06d}.h5"


@dataclass(frozen=True)
class ShardRecipe:
    """All that a process needs to make any shard, as data that travels between processes."""

    system: Mapping[str, Any]
    phantom: PhantomFamily
    limits: ExposureLimits
    readout: Readout
    seed: int
    folder: Path


class ShardMaker:
    """Makes shards; scan i of a split follows from (seed, split, i) alone."""

    def __init__(self, recipe: ShardRecipe) -> None:
        system = ImagingSystem.from_dict(recipe.system)
        windows = photopeak_windows(system.camera, system.chain, system.groups)
        self.recipe = recipe
        readout = CameraReadout(modules_of(system.camera), recipe.readout)
        self.simulator = ScanSimulator(
            system.forward_model(), recipe.phantom, recipe.limits, windows, readout
        )

    def make(self, task: ShardTask) -> ShardEntry:
        """Make one shard."""
        records = [
            self.simulator.scan(i, seeded_generator(self.recipe.seed, task.split, i))
            for i in range(task.first, task.last)
        ]
        return write_shard(self.recipe.folder / task.file, records, self.recipe.system)


def generate(plan: DatasetPlan, output: Path | str, workers: int = 0, progress: bool = False) -> Manifest:
    """Make what is missing of a data set.

    A shard whose content is the one that the manifest lists is kept; anything else is made again, with
    the same bytes. Processes use one thread each, since the number of threads may change the last digit.

    Args:
        plan: the data set.
        output: its folder.
        workers: processes; 0 works in this one.
        progress: show a progress bar.

    Returns:
        The manifest of the finished data set.

    Raises:
        UserError: the folder holds another data set or other files, or ``workers`` is negative or more than
            memory can hold.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}; it needs 0 (this process) or more")
    folder = Path(output)
    made = _kept(plan, folder)
    tasks = [task for task in _tasks(plan) if task.file not in made]
    processes = min(workers, len(tasks))
    check_memory(PROCESS_BYTES * processes, f"workers is {workers}: {processes} processes")
    recipe = ShardRecipe(plan.system.to_dict(), plan.phantom, plan.limits, plan.readout, plan.seed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _progress_bar(progress, plan, made) as advance:
        for entry in _made(tasks, recipe, workers):
            made[entry.file] = entry
            _manifest(plan, made).write(folder, UNFINISHED)
            advance(entry.scans)
    manifest = _manifest(plan, made)
    if tasks or not (folder / MANIFEST).is_file():
        manifest.write(folder)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return manifest


def _tasks(plan: DatasetPlan) -> list[ShardTask]:
    """Every shard of the data set."""
    return [
        ShardTask(split, first, min(first + plan.shard_size, size))
        for split, size in plan.sizes.items()
        for first in range(0, size, plan.shard_size)
    ]


def _manifest(plan: DatasetPlan, made: Mapping[str, ShardEntry]) -> Manifest:
    """The manifest of the shards made so far."""
    splits = {
        split: tuple(made[t.file] for t in _tasks(plan) if t.split == split and t.file in made)
        for split in plan.sizes
    }
    return Manifest(
        system=plan.system.to_dict(),
        splits=splits,
        seed=plan.seed,
        plan_sha256=plan.sha256,
        provenance=Provenance(origin="simulated", licence=plan.licence),
        plan=plan.description,
    )


def _kept(plan: DatasetPlan, folder: Path) -> dict[str, ShardEntry]:
    """Shards of an earlier run of the same plan that are whole."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output is {folder}, which is a file; it needs a folder")
    kept: dict[str, ShardEntry] = {}
    for name in (MANIFEST, UNFINISHED):
        if not (folder / name).is_file():
            continue
        manifest = Manifest.read(folder, name)
        if manifest.plan_sha256 != plan.sha256:
            raise _another_plan(folder, manifest, plan)
        for entry in (entry for shards in manifest.splits.values() for entry in shards):
            with contextlib.suppress(UserError):
                manifest.checked_file(folder, entry)
                kept[entry.file] = entry
    known = {t.file for t in _tasks(plan)} | {MANIFEST, UNFINISHED, DERIVED}
    others = [p.name for p in folder.iterdir() if p.name not in known] if folder.exists() else []
    strange = [name for name in others if not (name.startswith(".") and name.endswith(".part"))]
    if strange:
        raise UserError(
            f"{folder} holds {sorted(strange)[0]}, which is no shard of this plan; choose another folder"
        )
    return kept


def _another_plan(folder: Path, manifest: Manifest, plan: DatasetPlan) -> UserError:
    """What to say of a folder whose data set was made by another plan, or by other code of a package."""
    before, now = manifest.plan.get("packages", {}), plan.description["packages"]
    for name in sorted(before.keys() & now.keys()):
        if before[name].get("sha256") != now[name].get("sha256"):
            return UserError(
                f"{folder} was made with {name} {_told(before[name])}, whose code is now {_told(now[name])}; "
                "scans of both do not mix, choose another output folder"
            )
    described = {"system": manifest.system, "seed": manifest.seed, **manifest.plan}
    wanted = {"system": plan.system.to_dict(), "seed": plan.seed, **plan.description}
    differ = ", ".join(name for name in wanted if described.get(name) != wanted[name])
    told = f" (they differ in {differ})" if differ else ""
    told = told if manifest.plan else " or of an earlier version"
    return UserError(f"{folder} holds a data set of another plan{told}; choose another output folder")


def _told(package: Mapping[str, Any]) -> str:
    """Version and hash of a package in words."""
    number, digest = package.get("version") or "of no version", package.get("sha256") or "unknown"
    return f"{number} (source files {digest[:12]})"


def _made(tasks: list[ShardTask], recipe: ShardRecipe, workers: int) -> Iterator[ShardEntry]:
    """Entries of shards as they are made."""
    if not tasks:
        return
    with _one_thread():
        # Here first: the matrix that it builds is what the workers find in the cache.
        maker = ShardMaker(recipe)
        if workers == 0:
            yield from map(maker.make, tasks)
            return
    del maker
    with ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(recipe,),
    ) as pool:
        futures: list[Future[ShardEntry]] = [pool.submit(_work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: list[ShardMaker] = []
"""The maker of this worker process."""


def _start_worker(recipe: ShardRecipe) -> None:
    """Prepare a worker process: its thread and memory, and an end with its parent, were that killed."""
    keep_freed_memory()
    torch.set_num_threads(1)
    end_with_parent()
    _worker.append(ShardMaker(recipe))


def _work(task: ShardTask) -> ShardEntry:
    """Make a shard in a worker process."""
    return _worker[0].make(task)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _progress_bar(shown: bool, plan: DatasetPlan, made: Mapping[str, ShardEntry]) -> Iterator[Any]:
    """A function that moves the bar on by some scans."""
    columns = (TextColumn("scans"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown) as bar:
        done = sum(entry.scans for entry in made.values())
        task = bar.add_task("scans", total=sum(plan.sizes.values()), completed=done)
        yield lambda scans: bar.advance(task, scans)
