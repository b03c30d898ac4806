"""Pictures of a validation scan while training goes on."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.io.loggers import log_figure, shows_figures
from hspi_learn.io.run_folder import RunFolder
from hspi_learn.reconstructor import Reconstructor, ScanBatch, scan_context
from hspi_learn.visual.volumes import reconstruction_figure


class ValidationImages(Callback):
    """Sends the first map of the first validation scan, beside its truth, to the dashboards."""

    def __init__(self) -> None:
        self.scan: ScanBatch | None = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ScanBatch,
        batch_idx: int,
        *_: int,
    ) -> None:
        """Keep the first scan."""
        if self.scan is None:
            self.scan = first_scan(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show it, where there is a dashboard to show it in."""
        fits = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fits or self.scan is None or not any(map(shows_figures, trainer.loggers)):
            return
        name, figure = next(validation_figures(pl_module, self.scan))
        for logger in trainer.loggers:
            log_figure(logger, f"validation/{name}", figure, trainer.global_step)


def first_scan(batch: ScanBatch) -> ScanBatch:
    """The first scan of a batch, as a batch of one."""
    return ScanBatch(*(column[:1] for column in batch))


def keep_figures(
    folder: RunFolder, task: LightningModule, scan: ScanBatch, loggers: Sequence[Logger]
) -> None:
    """Save a picture of every map of a scan in the run's ``figures``, and show it in its dashboards."""
    folder.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in validation_figures(task, scan):
        figure.savefig(folder.figures / f"validation_{name}.png", dpi=120)
        for logger in loggers:
            log_figure(logger, f"published/{name}", figure, 0)


def validation_figures(task: Any, scan: ScanBatch) -> Iterator[tuple[str, Figure]]:
    """Name and picture of every map of a scan; the random generators stay as they were."""
    method: Reconstructor = task
    model: HyperspectralForwardModel = task.model
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        context = scan_context(model, scan.density, scan.duration_s)
        estimate = method.reconstruct(scan.projections, context)
    for index, name in enumerate(model.groups.names):
        yield name, _figure(model, scan, estimate, index)


def _figure(model: HyperspectralForwardModel, scan: ScanBatch, estimate: Tensor, index: int) -> Figure:
    per_ml = 1.0 / model.grid.voxel_volume_ml
    volumes = {
        name: (maps[0, index] * per_ml).cpu().numpy()
        for name, maps in (("truth", scan.activity), ("reconstruction", estimate))
    }
    title = f"{model.groups.names[index]}, validation scan {int(scan.index[0])}"
    return reconstruction_figure(volumes, model.grid.spacing_mm, "Bq/mL", title=title)
