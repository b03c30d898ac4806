"""What a training logs beside its losses: norms of gradients, and samples per second."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.data import extract_batch_size
from torch.optim import Optimizer


class TrainingMonitor(Callback):
    """Logs ``train/gradient_norm`` and ``train/samples_per_second``.

    The norm is the Euclidean one over all weights of the optimiser, before clipping. A task that steps its
    optimisers itself (manual optimisation) also clips itself, and logs the norm of what it clipped.
    Samples a second are over the last steps, loading of data included and validation left out.

    Args:
        steps: number of last steps over which samples a second are counted.
    """

    def __init__(self, steps: int = 10) -> None:
        self._since: float | None = None
        self._steps: deque[tuple[float, int]] = deque(maxlen=steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """The norm of a gradient that Lightning is about to clip."""
        if pl_module.automatic_optimization:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            pl_module.log("train/gradient_norm", norm, batch_size=1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The rate of the last steps."""
        now = time.perf_counter()
        if self._since is not None:
            self._steps.append((now - self._since, extract_batch_size(batch)))
            seconds, samples = map(sum, zip(*self._steps, strict=True))
            pl_module.log("train/samples_per_second", samples / seconds, batch_size=1)
        self._since = now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._since = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start it again."""
        self._since = time.perf_counter()
