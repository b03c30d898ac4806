"""Training of a network and an adversary in turn, both shown the physics image of a scan's counts.

What reconstructions and segmentations share: physics images kept beside the data set, two optimisers that
are stepped by hand, accumulated and clipped gradients, and an adversary that is let in during the training.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import ScanDataModule
from hspi_learn.losses import Loss
from hspi_learn.reconstructor import Reconstructor, ScanBatch, scan_context
from hspi_learn.tasks.base import Inputs, OptimizerFactory, ScheduleFactory, Task
from hspi_learn.tasks.physics_input import PhysicsInput, PhysicsInputs
from hspi_learn.tasks.schedule import averaging_decay, mirrored_axes, ramp

InitialFactory = Callable[[HyperspectralForwardModel], Reconstructor]
"""Makes the method of the physics image for a forward model."""

AXES = {"z": -3, "y": -2, "x": -1}


class Opponent(Protocol):
    """The settings of an adversary that the training itself needs."""

    @property
    def weight(self) -> float:
        """Of its verdict in the network's loss; 0 trains the control, which never asks it."""

    @property
    def from_share(self) -> float:
        """Share of the training after which it is let in, over an equal share."""

    @property
    def optimizer(self) -> OptimizerFactory:
        """Makes its optimiser."""


def check_opponent(weight: float, from_share: float) -> None:
    """Refuse settings of an adversary that mean nothing.

    Raises:
        UserError: the weight is negative or infinite, or the share is outside 0 to 1.
    """
    if not 0 <= weight < math.inf:
        raise UserError(f"weight is {weight}; it needs to be 0 or more")
    if not 0 <= from_share <= 1:
        raise UserError(f"from_share is {from_share}; it needs to be from 0 to 1")


class AlternatingTask(Task):
    """A network that starts from the physics image of counts, and an adversary, trained in turn.

    A subclass makes both networks, each from a seed of its own (:meth:`networks`), and defines
    ``training_step`` with what stands here: :meth:`training_physics`, :meth:`mirrors`,
    :meth:`opponent_weight`, :meth:`step_opponent` and :meth:`step_network`. With an adversary of weight 0
    there is no step of it: that is the control, with the same initial weights, batches and mirrors, since a
    step's chances are told from (seed, number of the step) alone.

    Two optimisers take turns, so they are stepped by hand: gradients are accumulated and clipped by
    arguments of the task, not of the trainer.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        opponent: settings of the adversary; None: there is none.
        initial: makes the physics image's method for a forward model.
        losses: by name, see :class:`Task`.
        optimizer: makes the network's optimiser.
        schedule: makes both learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the network's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights and mirrors.
        ema_decay: the network that predicts, is validated and is published is a running average of the
            trained one's weights, of which this share is kept at each update (less in the first ones, see
            :func:`~hspi_learn.tasks.schedule.averaging_decay`); None: the trained one itself. A subclass
            makes it by :meth:`average_of` and predicts by :attr:`predictor`.

    Raises:
        UserError: an axis that is not x, y or z, fewer than one batch an update, or a share outside 0 to 1.
    """

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        opponent: Opponent | None,
        initial: InitialFactory,
        losses: Mapping[str, Loss],
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory | None,
        mirror_axes: Sequence[str],
        largest_gradient: float,
        accumulate_batches: int,
        seed: int,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__(system, windows_kev, losses, optimizer, schedule, seed)
        _check(mirror_axes, accumulate_batches, ema_decay)
        self.automatic_optimization = False
        self.opponent, self.largest_gradient = opponent, largest_gradient
        self.accumulate_batches = accumulate_batches
        self.mirror_axes = tuple(AXES[axis] for axis in mirror_axes)
        self.model = system.forward_model(self.windows)
        self.initial = initial(self.model)
        self.physics_inputs = PhysicsInputs(system, self.model, self.initial)
        self._last: tuple[ScanBatch, PhysicsInput] | None = None
        self.ema_decay = ema_decay
        self.average: AveragedModel | None = None
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def networks(self) -> tuple[nn.Module, nn.Module | None]:
        """The network that predicts, and its adversary."""

    # The average of the network's weights.

    def average_of(self, network: nn.Module) -> AveragedModel | None:
        """A running average of a network's weights, buffers as they are; None if none is asked for.

        Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992) 838; of GANs Yazici et al., ICLR 2019.
        """
        if self.ema_decay is None:
            return None
        average = AveragedModel(network, avg_fn=partial(_averaged, decay=self.ema_decay))
        return average.requires_grad_(False)

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts: the average where there is one, the trained one otherwise."""
        return self.networks()[0] if self.average is None else self.average.module

    # The contract of a task, as far as it is the same.

    def inputs(self, batch: ScanBatch) -> Inputs:
        """The counts, and the :class:`~hspi_learn.reconstructor.ScanContext` of the scans."""
        context = scan_context(self.model, batch.density, batch.duration_s)
        return Inputs(batch.projections, "counts", context)

    def expected(self, batch: ScanBatch) -> Tensor:
        """Counts [batch, pixel, window] that the truth makes expected."""
        attenuation = self.model.attenuation(batch.density)
        return self.model.expected_counts(batch.activity, attenuation, batch.duration_s)

    # Physics images.

    def physics(self, batch: ScanBatch) -> PhysicsInput:
        """The physics input of a batch, made once where a prediction and its scores follow each other."""
        if self._last is None or self._last[0] is not batch:
            self._last = batch, self.physics_inputs(batch)
        return self._last[1]

    def training_physics(self, batch: ScanBatch) -> PhysicsInput:
        """The physics input of a training batch; of scans that never come again nothing is kept."""
        data = getattr(self.trainer, "datamodule", None)
        fresh = isinstance(data, ScanDataModule) and data.fresh
        return self.physics_inputs.once(batch) if fresh else self.physics_inputs(batch)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert everything; the last batch lies in the old place."""
        self._last = None
        if isinstance(self.physics_inputs, PhysicsInputs):
            self.physics_inputs.moved()
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def setup(self, stage: str) -> None:
        """Keep physics inputs beside the data set, and compute those of all its scans that are missing."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ScanDataModule):
            return
        self.physics_inputs.keep_beside(data.folder)
        splits = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",)}
        for split in splits.get(stage, ()):
            if split != "train" or _sees_every_scan(self.trainer, data):
                self.physics_inputs.prepare(data.windowed(split), f"physics images of {split} scans")

    # Two optimisers in turn.

    def configure_optimizers(self) -> Any:
        """The network's optimiser and schedule, then the adversary's."""
        network, adversary = self.networks()
        made = [self.scheduled(self.optimizer_factory(network.parameters()))]
        if self.opponent is not None and adversary is not None:
            made.append(self.scheduled(self.opponent.optimizer(adversary.parameters())))
        return made

    def total_updates(self) -> int:
        """Updates of the network in the whole training."""
        total, trainer = super().total_updates(), self.trainer
        if self.accumulate_batches == 1 or trainer.max_epochs is None or trainer.max_epochs < 0:
            return total
        by_epochs = math.ceil(trainer.num_training_batches / self.accumulate_batches) * trainer.max_epochs
        return by_epochs if trainer.max_steps < 0 else min(by_epochs, trainer.max_steps)

    def on_fit_start(self) -> None:
        """Note how long the training is, since the adversary is let in by its share."""
        self._total = self.total_updates()

    def mirrors(self, done: int) -> tuple[int, ...]:
        """The axes that a batch is mirrored along after so many updates."""
        return mirrored_axes(self.mirror_axes, self.seed, done)

    def opponent_weight(self, done: int) -> float:
        """The weight of the adversary's verdict after so many updates."""
        if self.opponent is None:
            return 0.0
        return self.opponent.weight * ramp(done / self._total, self.opponent.from_share)

    def is_first(self, batch_idx: int) -> bool:
        """Whether a batch is the first of an update."""
        return batch_idx % self.accumulate_batches == 0

    def is_last(self, batch_idx: int) -> bool:
        """Whether a batch is the last of an update."""
        return (batch_idx + 1) % self.accumulate_batches == 0 or self.trainer.is_last_batch

    def step_opponent(self, loss: Tensor, batch_idx: int) -> None:
        """Gradients of the adversary, and a step of it after the last batch of an update."""
        optimiser = self._optimisers()[1]
        if self.is_first(batch_idx):
            optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss / self.accumulate_batches)
        if self.is_last(batch_idx):
            # Lightning's wrapper would count this step too, and global_step means updates of the network.
            optimiser.optimizer.step()

    def step_network(self, loss: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Gradients of the network, and a clipped step of it after the last batch of an update.

        Returns:
            The norm of the gradient by its name in logs, after the last batch.
        """
        optimiser = self._optimisers()[0]
        if self.is_first(batch_idx):
            optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss / self.accumulate_batches)
        if not self.is_last(batch_idx):
            return {}
        network = self.networks()[0]
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.largest_gradient, error_if_nonfinite=True)
        optimiser.step()
        if self.average is not None:
            self.average.update_parameters(network)
        self._step_schedules()
        self.updates += 1
        return {"gradient_norm": norm}

    def _step_schedules(self) -> None:
        """Both learning rates follow the network's updates."""
        schedules: Any = self.lr_schedulers()
        if schedules is not None and not isinstance(schedules, list):
            schedules = [schedules]
        with warnings.catch_warnings():
            # The adversary's rate falls also while it is not yet let in, or never is.
            warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)`")
            for schedule in schedules or ():
                schedule.step()

    def _optimisers(self) -> list[Any]:
        """Lightning's wrappers of the optimisers."""
        optimisers = self.optimizers()
        return optimisers if isinstance(optimisers, list) else [optimisers]


def _sees_every_scan(trainer: Trainer, data: ScanDataModule) -> bool:
    """Whether the training lasts an epoch at least; shorter ones compute what they need as they go."""
    if data.fresh:
        return False
    return trainer.max_steps < 0 or trainer.max_steps * data.batch_size >= len(data.windowed("train"))


def _averaged(average: Tensor, present: Tensor, updates: Tensor | int, decay: float) -> Tensor:
    """The average of a weight after one more update."""
    return torch.lerp(present, average, averaging_decay(int(updates), decay))


def _check(mirror_axes: Sequence[str], accumulate_batches: int, ema_decay: float | None) -> None:
    """Refuse settings that mean nothing."""
    unknown = [axis for axis in mirror_axes if axis not in AXES]
    if unknown:
        raise UserError(f"task.mirror_axes holds {unknown[0]!r}; it needs to be some of {sorted(AXES)}")
    if accumulate_batches < 1:
        raise UserError(f"task.accumulate_batches is {accumulate_batches}; it needs to be 1 or more")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise UserError(f"task.ema_decay is {ema_decay}; it needs to be from 0 to below 1, or null for none")
