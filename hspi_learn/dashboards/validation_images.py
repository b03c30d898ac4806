"""Pictures that a task draws of a validation sample: shown while training goes on, and kept with the run."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import torch
from lightning_utilities import apply_to_collection
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from hspi_learn.dashboards import log_figure, shows_figures
from hspi_learn.io.run_folder import RunFolder
from hspi_learn.networks import evaluation_mode


class Illustrated(Protocol):
    """A task that draws what it predicts."""

    def figures(self, batch: Any) -> Iterator[tuple[str, Figure]]:
        """Name and picture of what it makes of the first sample of a batch.

        Files and dashboards are called by the name: letters, digits, ``_``, ``-`` and ``.`` alone.
        """


class ValidationImages(Callback):
    """Sends the task's first picture of the first validation sample to the dashboards."""

    def __init__(self) -> None:
        self.sample: Any = None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        *_: int,
    ) -> None:
        """Keep the first sample."""
        if self.sample is None:
            self.sample = first_sample(batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show it, where there is a dashboard to show it in."""
        fits = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fits or self.sample is None or not any(map(shows_figures, trainer.loggers)):
            return
        task: Any = pl_module
        for name, figure in drawn(task, self.sample, most=1):
            for logger in trainer.loggers:
                log_figure(logger, f"validation/{name}", figure, trainer.global_step)


def first_sample(batch: Any) -> Any:
    """The first sample of a batch of tensors, in any nesting, as a batch of one."""
    return apply_to_collection(batch, Tensor, lambda column: column[:1])


def drawn(task: Illustrated, sample: Any, most: int | None = None) -> list[tuple[str, Figure]]:
    """The task's pictures of a sample, the first ``most`` of them, drawn in evaluation mode.

    Its mode and the random generators of torch are as they were afterwards.
    """
    with torch.no_grad(), evaluation_mode(task):
        return list(islice(task.figures(sample), most))


def keep_figures(folder: RunFolder, task: Illustrated, sample: Any, loggers: Sequence[Logger]) -> None:
    """Save the pictures that a finished training draws of a sample, and show them in its dashboards.

    Args:
        folder: folder of the run; files are ``figures/validation_NAME.png``.
        task: the task with the weights that the run publishes.
        sample: a batch of one.
        loggers: loggers of the run, which call a picture ``published/NAME``.
    """
    folder.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn(task, sample):
        figure.savefig(folder.figures / f"validation_{name}.png", dpi=120)
        for logger in loggers:
            log_figure(logger, f"published/{name}", figure, 0)
