"""Training of a reconstructor: physics image in, better activity maps out, with or without an adversary."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim import Adam, AdamW

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import ScanDataModule
from hspi_learn.losses import (
    AdversarialKind,
    CountMismatch,
    Loss,
    PoissonDeviance,
    RelativeError,
    discriminator_loss,
    generator_loss,
)
from hspi_learn.metrics import Reduction, scan_nrmse
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext, body_mean, nonzero, scan_context
from hspi_learn.tasks.base import (
    Inputs,
    OptimizerFactory,
    ScheduleFactory,
    Task,
    Watched,
    seeded_network,
)
from hspi_learn.tasks.images import Images, body_of, images_of
from hspi_learn.tasks.physics_input import BackProjection, PhysicsInput, PhysicsInputs
from hspi_learn.tasks.schedule import mirrored_axes, ramp, warm_up_cosine
from hspi_learn.visual.volumes import reconstruction_figure

InitialFactory = Callable[[HyperspectralForwardModel], Reconstructor]
NetworkFactory = Callable[[int], nn.Module]
GENERATOR_OPTIMIZER: OptimizerFactory = partial(AdamW, lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-4)
DISCRIMINATOR_OPTIMIZER: OptimizerFactory = partial(Adam, lr=4e-4, betas=(0.5, 0.9))
AXES = {"z": -3, "y": -2, "x": -1}


@dataclass(frozen=True)
class Adversary:
    """A discriminator that learns to tell estimates from truths, and its part in the generator's loss.

    Args:
        discriminator: makes the discriminator for a number of maps.
        weight: of its verdict in the generator's loss; 0 trains the control, which never asks it.
        kind: least squares or hinge.
        from_share: share of the training after which it is let in, over an equal share.
        optimizer: makes its optimiser.

    Raises:
        UserError: the weight is negative or infinite, or the share is outside 0 to 1.
    """

    discriminator: NetworkFactory
    weight: float = 0.01
    kind: AdversarialKind = "least_squares"
    from_share: float = 0.2
    optimizer: OptimizerFactory = DISCRIMINATOR_OPTIMIZER

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise UserError(f"weight is {self.weight}; it needs to be 0 or more")
        if not 0 <= self.from_share <= 1:
            raise UserError(f"from_share is {self.from_share}; it needs to be from 0 to 1")


class ReconstructionView:
    """What the losses of a reconstruction are told besides activity and batch.

    Args:
        model: the forward model.
        weight: weight of each voxel in the error [batch, map, z, y, x].
        step: updates done.
    """

    def __init__(self, model: HyperspectralForwardModel, weight: Tensor, step: int) -> None:
        self.model, self.weight, self.step = model, weight, step
        self._expected: tuple[Tensor, int, Tensor] | None = None

    def expected_counts(self, activity: Tensor, batch: ScanBatch, scan: int) -> Tensor:
        """Counts [1, pixel, window] that an activity [batch, map, z, y, x] makes expected in one scan.

        Losses that ask for the same scan of the same activity share the projection.
        """
        if self._expected is None or self._expected[0] is not activity or self._expected[1] != scan:
            one = slice(scan, scan + 1)
            attenuation = self.model.attenuation(batch.density[one])
            expected = self.model.expected_counts(activity[one], attenuation, batch.duration_s[one])
            self._expected = activity, scan, expected
        return self._expected[2]


class GanReconstruction(Task):
    """Generator that corrects a physics image, trained against truth, counts and a discriminator.

    The generator's loss is the weighted sum of ``losses`` and the discriminator's verdict
    (``adversarial``). Losses get the activity [batch, map, z, y, x] in Bq per voxel, the
    :class:`~hspi_learn.reconstructor.ScanBatch`, and a :class:`ReconstructionView`. With an adversary of
    weight 0 there is no discriminator step: that is the control, with the same initial weights, batches
    and mirrors, since each network is drawn from its own seed and a step's chances are told from (seed,
    number of the step) alone.

    Activities are divided by each map's mean over the body in the physics image, and estimates multiplied
    back: k times the counts give k times the activity.

    Two optimisers take turns, so this task steps them by hand: gradients are accumulated and clipped by
    arguments of its own, not of the trainer.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the generator for a number of maps.
        adversary: the discriminator and its part in the loss.
        initial: makes the physics image's method for a forward model.
        losses: by name; None weighs NRMSE 1, and every fourth step the Poisson deviance of the counts
            0.02 and the mismatch of their totals 0.05.
        optimizer: makes the generator's optimiser.
        schedule: makes both learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the generator's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights and mirrors.

    Raises:
        UserError: an axis that is not x, y or z, or fewer than one batch an update.
    """

    watched: ClassVar[Watched] = Watched("val/nrmse", "min")
    reduction: ClassVar[Reduction] = "median"
    protocol: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        generator: NetworkFactory,
        adversary: Adversary,
        initial: InitialFactory = BackProjection,
        losses: Mapping[str, Loss] | None = None,
        optimizer: OptimizerFactory = GENERATOR_OPTIMIZER,
        schedule: ScheduleFactory | None = warm_up_cosine,
        mirror_axes: Sequence[str] = ("x",),
        largest_gradient: float = 1.0,
        accumulate_batches: int = 1,
        seed: int = 0,
    ) -> None:
        default = {
            "voxel": RelativeError(1.0),
            "data": PoissonDeviance(0.02, every=4),
            "count": CountMismatch(0.05, every=4),
        }
        super().__init__(
            system, windows_kev, default if losses is None else losses, optimizer, schedule, seed
        )
        _check(mirror_axes, accumulate_batches)
        self.automatic_optimization = False
        self.adversary, self.largest_gradient = adversary, largest_gradient
        self.accumulate_batches = accumulate_batches
        self.mirror_axes = tuple(AXES[axis] for axis in mirror_axes)

        self.model = system.forward_model(self.windows)
        self.initial = initial(self.model)
        self.physics_inputs = PhysicsInputs(system, self.model, self.initial)
        self._last: tuple[ScanBatch, PhysicsInput] | None = None
        maps = len(system.groups.names)
        self.generator = seeded_network(lambda: generator(maps), seed)
        self.discriminator = seeded_network(lambda: adversary.discriminator(maps), seed + 1)
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    # A reconstruction method like any other.

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        initial = self.initial.reconstruct(projections, context)
        return self.corrected(initial, context.density[:, None], context.body)

    def corrected(self, initial: Tensor, density: Tensor, body: Tensor) -> Tensor:
        """The generator's estimate from a physics image, both in Bq per voxel; zero outside the body."""
        scale = body_mean(initial, body)
        estimate: Tensor = self.generator(initial / nonzero(scale), density)
        return scale * body * estimate

    # The contract of a task.

    def inputs(self, batch: ScanBatch) -> Inputs:
        """The counts, and the :class:`~hspi_learn.reconstructor.ScanContext` of the scans."""
        context = scan_context(self.model, batch.density, batch.duration_s)
        return Inputs(batch.projections, "counts", context)

    def predict(self, inputs: Inputs) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel."""
        return self.reconstruct(inputs.values, inputs.context)

    def predict_batch(self, batch: ScanBatch) -> Tensor:
        """The same from the kept physics images."""
        return self.corrected(self._physics(batch).initial, batch.density[:, None], body_of(batch))

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """NRMSE in the voxels where it is measured, mean over maps."""
        return scan_nrmse(prediction, batch.activity, self._physics(batch).mask)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GanReconstruction:
        """Move or convert everything; the last batch lies in the old place."""
        self._last = None
        moved: GanReconstruction = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def _physics(self, batch: ScanBatch) -> PhysicsInput:
        """The physics input of a batch, made once where a prediction and its scores follow each other."""
        if self._last is None or self._last[0] is not batch:
            self._last = batch, self.physics_inputs(batch)
        return self._last[1]

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """``nrmse``, without a unit."""
        return {"nrmse": self.per_sample_loss(prediction, batch)}

    def expected(self, batch: ScanBatch) -> Tensor:
        """Counts [batch, pixel, window] that the truth makes expected."""
        attenuation = self.model.attenuation(batch.density)
        return self.model.expected_counts(batch.activity, attenuation, batch.duration_s)

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        """Every map of the first scan beside its truth, in Bq/mL."""
        scan = ScanBatch(*(column[:1] for column in batch))
        estimate = self.predict(self.inputs(scan))
        per_ml = 1.0 / self.model.grid.voxel_volume_ml
        for index, name in enumerate(self.model.groups.names):
            volumes = {
                label: (maps[0, index] * per_ml).cpu().numpy()
                for label, maps in (("truth", scan.activity), ("reconstruction", estimate))
            }
            title = f"{name}, validation scan {int(scan.index[0])}"
            yield name, reconstruction_figure(volumes, self.model.grid.spacing_mm, "Bq/mL", title=title)

    # Training.

    def configure_optimizers(self) -> Any:
        """The generator's optimiser and schedule, then the discriminator's."""
        return [
            self.scheduled(self.optimizer_factory(self.generator.parameters())),
            self.scheduled(self.adversary.optimizer(self.discriminator.parameters())),
        ]

    def total_updates(self) -> int:
        """Updates of the generator in the whole training."""
        total, trainer = super().total_updates(), self.trainer
        if self.accumulate_batches == 1 or trainer.max_epochs is None or trainer.max_epochs < 0:
            return total
        by_epochs = math.ceil(trainer.num_training_batches / self.accumulate_batches) * trainer.max_epochs
        return by_epochs if trainer.max_steps < 0 else min(by_epochs, trainer.max_steps)

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

    def on_fit_start(self) -> None:
        """Note how long the training is, since the adversary is let in by its share."""
        self._total = self.total_updates()

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the generator, and before it one of the discriminator if there is an adversary."""
        done = int(self.updates)
        data = getattr(self.trainer, "datamodule", None)
        fresh = isinstance(data, ScanDataModule) and data.fresh
        physics = self.physics_inputs.once(batch) if fresh else self.physics_inputs(batch)
        images = images_of(batch, physics, mirrored_axes(self.mirror_axes, self.seed, done))
        estimate = images.body * self.generator(images.initial, images.density)
        view = ReconstructionView(self.model, images.weight, done)
        losses = self.losses.computed(images.activity(estimate), batch, view, done)
        total = self.losses.weighted_sum(losses, estimate)
        first = batch_idx % self.accumulate_batches == 0
        last = (batch_idx + 1) % self.accumulate_batches == 0 or self.trainer.is_last_batch
        logged = dict(losses)
        weight = self.adversary.weight * ramp(done / self._total, self.adversary.from_share)
        if weight > 0:
            logged |= self._train_discriminator(images, estimate.detach(), first, last)
            logged["adversarial"] = self._verdict(images, estimate)
            total = total + weight * logged["adversarial"]
        logged |= self._train_generator(total, first, last)
        self.log_training(logged, len(estimate))

    def _verdict(self, images: Images, estimate: Tensor) -> Tensor:
        """The generator's adversarial loss; no gradient is left in the discriminator."""
        self.discriminator.requires_grad_(False)
        scores = self.discriminator(estimate, images.initial, images.density)
        self.discriminator.requires_grad_(True)
        return generator_loss(scores, self.adversary.kind)

    def _train_discriminator(
        self, images: Images, estimate: Tensor, first: bool, last: bool
    ) -> dict[str, Tensor]:
        """Gradients of the discriminator, and a step after the last batch of an update."""
        optimiser = self._optimisers()[1]
        real = self.discriminator(images.truth, images.initial, images.density)
        fake = self.discriminator(estimate, images.initial, images.density)
        loss = discriminator_loss(real, fake, self.adversary.kind)
        if first:
            optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss / self.accumulate_batches)
        if last:
            # Lightning's wrapper would count this step too, and global_step means generator updates.
            optimiser.optimizer.step()
        return {"discriminator": loss, "score_real": real.mean(), "score_fake": fake.mean()}

    def _train_generator(self, loss: Tensor, first: bool, last: bool) -> dict[str, Tensor]:
        """Gradients of the generator, and a clipped step after the last batch of an update."""
        optimiser = self._optimisers()[0]
        if first:
            optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss / self.accumulate_batches)
        if not last:
            return {}
        norm = nn.utils.clip_grad_norm_(
            self.generator.parameters(), self.largest_gradient, error_if_nonfinite=True
        )
        optimiser.step()
        self._step_schedules()
        self.updates += 1
        return {"gradient_norm": norm}

    def _step_schedules(self) -> None:
        """Both learning rates follow the generator's updates."""
        schedules: Any = self.lr_schedulers()
        with warnings.catch_warnings():
            # The discriminator's rate falls also while it is not yet let in, or never is.
            warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)`")
            for schedule in schedules or ():
                schedule.step()

    def _optimisers(self) -> list[Any]:
        """Lightning's wrappers of the two optimisers."""
        optimisers = self.optimizers()
        return optimisers if isinstance(optimisers, list) else [optimisers]


def _sees_every_scan(trainer: Trainer, data: ScanDataModule) -> bool:
    """Whether the training lasts an epoch at least; shorter ones compute what they need as they go."""
    if data.fresh:
        return False
    return trainer.max_steps < 0 or trainer.max_steps * data.batch_size >= len(data.windowed("train"))


def _check(mirror_axes: Sequence[str], accumulate_batches: int) -> None:
    """Refuse settings that mean nothing."""
    unknown = [axis for axis in mirror_axes if axis not in AXES]
    if unknown:
        raise UserError(f"task.mirror_axes holds {unknown[0]!r}; it needs to be some of {sorted(AXES)}")
    if accumulate_batches < 1:
        raise UserError(f"task.accumulate_batches is {accumulate_batches}; it needs to be 1 or more")
