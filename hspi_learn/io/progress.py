"""Progress of a training, on a terminal and in a file."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.trainer.states import TrainerFn


class PrintedProgress(Callback):
    """Prints a line at each validation.

    Args:
        monitor: the logged metric that is printed.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the step and the metric."""
        if trainer.state.fn == TrainerFn.FITTING and self.monitor in trainer.callback_metrics:
            value = float(trainer.callback_metrics[self.monitor])
            end = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
            print(f"step {trainer.global_step}{end}: {self.monitor} {value:.4f}", flush=True)


class WatchedProgress(RichProgressBar):
    """Lightning's bar, without the number of epochs: a training is as long as its steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch}"
