"""When training writes a checkpoint, and the random generators that it needs to go on to the same bits."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

import math
import random
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from hspi_learn.io.run_folder import RunFolder


class RunCheckpoints(Callback):
    """Writes ``last.ckpt`` every few steps and at the end, and ``best.ckpt`` at the best validation.

    Lightning's own ModelCheckpoint warns at each step of a task that steps its optimisers by hand.
    Checkpoints are written between two batches of an epoch, never after its last: Lightning miscounts
    batches when it resumes from there.

    Args:
        folder: where the checkpoints go.
        every_steps: steps between checkpoints, at least.
        monitor: logged validation metric.
        direction: whether its lowest (``min``) or its highest (``max``) value is best.
    """

    def __init__(
        self, folder: RunFolder, every_steps: int, monitor: str, direction: Literal["min", "max"] = "min"
    ) -> None:
        self.folder, self.every_steps, self.monitor, self.direction = folder, every_steps, monitor, direction
        self.best = math.inf if direction == "min" else -math.inf
        self.saved_step = 0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save if it is time."""
        due = trainer.global_step - self.saved_step >= self.every_steps
        if due and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where training ended."""
        self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder.last_checkpoint)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this validation was the best so far."""
        if (
            trainer.state.fn != TrainerFn.FITTING
            or trainer.sanity_checking
            or self.monitor not in trainer.callback_metrics
        ):
            return
        found = float(trainer.callback_metrics[self.monitor])
        if is_better(found, self.best, self.direction):
            self.best = found
            trainer.save_checkpoint(self.folder.best_checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and the step of the last checkpoint."""
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` stood."""
        self.best, self.saved_step = state_dict["best"], state_dict["saved_step"]


def is_better(found: float, best: float, direction: Literal["min", "max"]) -> bool:
    """Whether a value of a watched metric beats the best one so far; NaN beats nothing."""
    return found < best if direction == "min" else found > best


def generator_states() -> dict[str, Any]:
    """States of the global random generators (torch, CUDA, numpy, Python) as tensors and plain values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).copy()), int(position), int(has_gauss), gauss],
        "python": random.getstate(),
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Set the global random generators to what :func:`generator_states` found."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))  # noqa: NPY002
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
