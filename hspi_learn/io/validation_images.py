"""Images of a validation sample, drawn by the task while training goes on."""

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

from hspi_learn.io.loggers import log_figure, shows_figures
from hspi_learn.io.run_folder import RunFolder


class Illustrated(Protocol):
    """A task that draws what it predicts."""

    def figures(self, batch: Any) -> Iterator[tuple[str, Figure]]:
        """Name and picture of what it makes of the first sample of a batch."""


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
    """The task's pictures of a sample, the first ones; the random generators stay as they were."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return list(islice(task.figures(sample), most))


def keep_figures(folder: RunFolder, task: Illustrated, sample: Any, loggers: Sequence[Logger]) -> None:
    """Save the task's pictures of a sample in the run's ``figures``, and show them in its dashboards."""
    folder.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn(task, sample):
        figure.savefig(folder.figures / f"validation_{name}.png", dpi=120)
        for logger in loggers:
            log_figure(logger, f"published/{name}", figure, 0)
