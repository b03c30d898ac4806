"""Pictures of a validation scan while training goes on."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from data_gen.forward import HyperspectralForwardModel
from hspi_learn.io.loggers import log_figure, shows_figures
from hspi_learn.io.run_folder import RunFolder
from hspi_learn.reconstructor import Reconstructor, ScanBatch, scan_context
from hspi_learn.visual.volumes import reconstruction_figure


class ValidationImages(Callback):
    """Sends the first validation scan, beside its truth, to every dashboard that shows pictures.

    The last ones are kept in the run's ``figures`` too.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
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
            self.scan = ScanBatch(*(column[:1] for column in batch))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the first map, where there is a dashboard to show it in."""
        shown = [logger for logger in trainer.loggers if shows_figures(logger)]
        if not shown or self.scan is None or trainer.sanity_checking:
            return
        model, estimate = _reconstructed(pl_module, self.scan)
        figure = _figure(model, self.scan, estimate, 0)
        for logger in shown:
            log_figure(logger, f"validation/{model.groups.names[0]}", figure, trainer.global_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep a picture of every map."""
        if self.scan is None:
            return
        model, estimate = _reconstructed(pl_module, self.scan)
        self.folder.figures.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(model.groups.names):
            figure = _figure(model, self.scan, estimate, index)
            figure.savefig(self.folder.figures / f"validation_{name}.png", dpi=120)


def _reconstructed(task: Any, scan: ScanBatch) -> tuple[HyperspectralForwardModel, Tensor]:
    """The task's forward model and its estimate of a scan; the random generators stay as they were."""
    method: Reconstructor = task
    model: HyperspectralForwardModel = task.model
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return model, method.reconstruct(scan.projections, scan_context(model, scan.density, scan.duration_s))


def _figure(model: HyperspectralForwardModel, scan: ScanBatch, estimate: Tensor, index: int) -> Any:
    per_ml = 1.0 / model.grid.voxel_volume_ml
    volumes = {
        name: (maps[0, index] * per_ml).cpu().numpy()
        for name, maps in (("truth", scan.activity), ("reconstruction", estimate))
    }
    title = f"{model.groups.names[index]}, validation scan {int(scan.index[0])}"
    return reconstruction_figure(volumes, model.grid.spacing_mm, "Bq/mL", title=title)
