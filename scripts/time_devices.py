"""Time of a projection, its transpose, an OSEM iteration and a training step, on CPU and CUDA device.

python scripts/time_devices.py [--camera demo] [--voxels 24] [--threads 1] [--steps 12]
"""

from __future__ import annotations

# ruff: noqa: ARG002 (the signatures of callbacks are Lightning's)
import argparse
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_gen.camera import load_camera
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from hspi_learn.classical import Osem
from hspi_learn.commands.composing import config_folder
from hspi_learn.configs.build import build
from hspi_learn.reconstructor import ScanBatch, scan_context

REPEATS = 5
SPACING_MM = 1.2
BATCH = 4


def main() -> None:
    """Print a table of times; what fails is told and the next is timed."""
    options = _options()
    torch.set_num_threads(options.threads)
    _silence()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", overrides=["data.folder=none", f"trainer.max_steps={options.steps}"])
    began = time.perf_counter()
    system = ImagingSystem(
        load_camera(options.camera),
        decay_chain("Ra-223"),
        VoxelGrid([options.voxels] * 3, SPACING_MM),
        EnergyBins(20.0, 600.0, 580),
        options=ModelOptions(reference_energies=6, scatter_voxel_mm=4.8),
    )
    task = build(config.task, key="task", system=system)
    print(f"{options.camera}, {options.voxels}^3 voxels, {options.threads} CPU threads", flush=True)
    print(f"built in {time.perf_counter() - began:.1f} s", flush=True)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    times = {device: _times(task, device, options.steps) for device in devices}
    _print(times)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--camera", default="demo")
    parser.add_argument("--voxels", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    return parser.parse_args()


def _silence() -> None:
    """Lightning's advice on workers and logging is of no use here."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated", category=FutureWarning)


def _times(task: Any, device: str, steps: int) -> dict[str, float]:
    """Seconds of each stage on a device; NaN for one that failed."""
    task.to(device)
    model: HyperspectralForwardModel = task.model
    scans = _scans(model, device)
    with torch.no_grad():
        context = scan_context(model, scans.density, scans.duration_s)
        one = context.part(slice(0, 1))
        counts, activity = scans.projections[:1], scans.activity[:1]
        osem = Osem(model, iterations=1, subsets=8)
        stages: dict[str, Callable[[], object]] = {
            "state of an object": lambda: model.attenuation(scans.density[:1]),
            "A": lambda: model.project(activity, one.attenuation),
            "A^T": lambda: model.back_project(counts, one.attenuation),
            "OSEM iteration, 8 subsets": lambda: osem.reconstruct(counts, one),
        }
        fine = model.with_energy_bins(EnergyBins(20.0, 600.0, 580))
        stages["A, 580 bins"] = lambda: fine.project(activity, one.attenuation)
        times = {name: _tried(name, partial(_median, stage, device)) for name, stage in stages.items()}
    times[f"training step, {BATCH} scans"] = _tried("training", lambda: _step_s(task, scans, device, steps))
    return times


def _tried(name: str, timed: Callable[[], float]) -> float:
    try:
        return timed()
    except Exception:  # any: the other stages still tell something
        print(f"{name} failed:", flush=True)
        traceback.print_exc()
        return float("nan")


def _median(stage: Callable[[], object], device: str) -> float:
    """Seconds of a call, the median of a few after a first one."""
    taken = []
    for _ in range(REPEATS + 1):
        began = _now(device)
        stage()
        taken.append(_now(device) - began)
    return statistics.median(taken[1:])


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _scans(model: HyperspectralForwardModel, device: str) -> ScanBatch:
    """Scans of a warm ball with a hot spot in it."""
    radius_mm = model.grid.centres_mm().norm(dim=-1)
    density = (radius_mm < 12.0).float().expand(BATCH, -1, -1, -1).to(device)
    activity = 50.0 * density[:, None].repeat(1, len(model.groups.names), 1, 1, 1)
    middle = model.grid.shape[0] // 2
    activity[..., middle, middle, middle] *= 50
    duration = torch.full((BATCH,), 1800.0, device=device)
    with torch.no_grad():
        expected = model.expected_counts(activity, model.attenuation(density), duration)
    counts = torch.poisson(expected.cpu(), generator=torch.Generator().manual_seed(0)).to(device)
    index = torch.arange(BATCH, device=device)
    return ScanBatch(counts, duration, density, activity, density.long(), index)


class _Watch(Callback):
    """Seconds of every training step."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds, self.began = device, list[float](), 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.began = _now(self.device)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.seconds.append(_now(self.device) - self.began)


def _step_s(task: LightningModule, scans: ScanBatch, device: str, steps: int) -> float:
    """Mean seconds of a step after the first four, by Lightning's own loop."""
    watch = _Watch(device)
    trainer = Trainer(
        max_steps=steps,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        logger=False,
        callbacks=[watch],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    rows = [ScanBatch(*(part.cpu() for part in scans))] * steps
    trainer.fit(task, DataLoader(rows, batch_size=None))
    measured: Tensor = torch.tensor(watch.seconds[4:])
    return float(measured.mean())


def _print(times: Mapping[str, Mapping[str, float]]) -> None:
    """A row for each stage, a column for each device."""
    names = list(next(iter(times.values())))
    ratio = ["CPU / GPU"] if "cuda" in times else []
    print(f"{'':28}" + "".join(f"{head:>12}" for head in (*times, *ratio)))
    for name in names:
        found = [by_stage[name] for by_stage in times.values()]
        cells = [f"{1e3 * seconds:9.2f} ms" for seconds in found]
        cells += [f"{found[0] / found[1]:12.1f}"] if ratio else []
        print(f"{name:28}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
