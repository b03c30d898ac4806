"""Training of a reconstructor: physics image in, better activity maps out, with or without an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows, energy_windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.losses import (
    AdversarialKind,
    count_mismatch,
    discriminator_loss,
    generator_loss,
    poisson_deviance,
    relative_error,
)
from hspi_learn.metrics import Nrmse
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext
from hspi_learn.tasks.images import Images, body_mean, body_of, images_of, nonzero
from hspi_learn.tasks.physics_input import BackProjection, PhysicsInputs
from hspi_learn.tasks.schedule import cosine_rate, mirrored_axes, ramp

InitialFactory = Callable[[HyperspectralForwardModel], Reconstructor]
NetworkFactory = Callable[[int], nn.Module]
AXES = {"z": -3, "y": -2, "x": -1}


class GanReconstruction(LightningModule):
    """Generator that corrects a physics image, trained against truth, counts and a discriminator.

    The generator's loss is a weighted sum of the NRMSE to the truth (``voxel``), the Poisson deviance of
    the counts that its estimate would give (``data``), the mismatch of their totals in each window
    (``count``) and the discriminator's verdict (``adversarial``). With ``adversarial_weight=0`` there is no
    discriminator step: that is the control, with the same initial weights, batches and mirrors, since each
    network is drawn from its own seed and a step's chances are told from (seed, number of the step) alone.

    Activities are divided by each map's mean over the body in the physics image, and estimates multiplied
    back: k times the counts give k times the activity.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the generator for a number of maps.
        discriminator: makes the discriminator for a number of maps.
        initial: makes the physics image's method for a forward model.
        steps: generator updates of the whole training; the learning rates fall to zero over them.
        voxel_weight: weight of the NRMSE.
        data_weight: weight of the Poisson deviance per count.
        count_weight: weight of the mismatch of window totals.
        adversarial_weight: weight of the discriminator's verdict; 0 trains the control.
        adversarial_kind: least squares or hinge.
        adversarial_from: share of the training after which the adversary is let in, over an equal share.
        data_interval: steps between comparisons with the counts, each of one scan of the batch in turn:
            projecting is the dearest part of a step. The weights are per step, whatever the interval.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        learning_rate: of the generator, at its highest.
        discriminator_learning_rate: of the discriminator, at its highest.
        weight_decay: of the generator.
        largest_gradient: norm to which the generator's gradient is clipped.
        seed: seed of weights, mirrors and order of scans for the data loss.

    Raises:
        UserError: a negative weight, or an axis that is not x, y or z.
    """

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        generator: NetworkFactory,
        discriminator: NetworkFactory,
        steps: int,
        initial: InitialFactory = BackProjection,
        voxel_weight: float = 1.0,
        data_weight: float = 0.02,
        count_weight: float = 0.05,
        adversarial_weight: float = 0.01,
        adversarial_kind: AdversarialKind = "least_squares",
        adversarial_from: float = 0.2,
        data_interval: int = 4,
        mirror_axes: Sequence[str] = ("x",),
        learning_rate: float = 2e-3,
        discriminator_learning_rate: float = 4e-4,
        weight_decay: float = 1e-4,
        largest_gradient: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weights = {
            "voxel": voxel_weight,
            "data": data_weight,
            "count": count_weight,
            "adversarial": adversarial_weight,
        }
        _check(self.weights, mirror_axes, steps, data_interval)
        self.steps, self.data_interval, self.seed = steps, data_interval, seed
        self.adversarial_kind: AdversarialKind = adversarial_kind
        self.adversarial_from = adversarial_from
        self.mirror_axes = tuple(AXES[axis] for axis in mirror_axes)
        self.rates = (learning_rate, discriminator_learning_rate)
        self.weight_decay, self.largest_gradient = weight_decay, largest_gradient

        self.system = system
        self.model = system.forward_model(energy_windows(windows_kev, system))
        self.initial = initial(self.model)
        self.inputs = PhysicsInputs(self.model, self.initial)
        maps = len(system.groups.names)
        self.generator = _drawn(generator, maps, seed)
        self.discriminator = _drawn(discriminator, maps, seed + 1)
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.validation_error = Nrmse()

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

    # Training.

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's optimiser, then the discriminator's."""
        rate, critic_rate = self.rates
        return [
            torch.optim.AdamW(
                self.generator.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=self.weight_decay
            ),
            torch.optim.Adam(self.discriminator.parameters(), lr=critic_rate, betas=(0.5, 0.9)),
        ]

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:  # noqa: ARG002
        """One update of the generator, and before it one of the discriminator if there is an adversary."""
        done = int(self.updates)
        images = images_of(batch, self.inputs(batch), mirrored_axes(self.mirror_axes, self.seed, done))
        estimate = images.body * self.generator(images.initial, images.density)
        adversary = self.weights["adversarial"] * ramp(done / self.steps, self.adversarial_from)
        losses = self._generator_losses(batch, images, estimate, done)
        total = torch.stack([self._weight(name) * loss for name, loss in losses.items()]).sum()
        if adversary > 0:
            losses["discriminator"] = self._update_discriminator(images, estimate.detach(), done)
            losses["adversarial"] = self._verdict(images, estimate)
            total = total + adversary * losses["adversarial"]
        self._update_generator(total, done)
        self.updates += 1
        logged = {f"train/{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(logged, batch_size=len(estimate))

    def _weight(self, name: str) -> float:
        """Weight of a loss when it is computed, which those against counts are in some steps only."""
        return self.weights[name] * (self.data_interval if name in ("data", "count") else 1)

    def _generator_losses(
        self, batch: ScanBatch, images: Images, estimate: Tensor, done: int
    ) -> dict[str, Tensor]:
        """Losses of the estimate against truth and, every ``data_interval`` steps, against counts."""
        losses = {"voxel": relative_error(estimate, images.truth, images.weight)}
        if done % self.data_interval == 0 and (self.weights["data"] or self.weights["count"]):
            scan = done // self.data_interval % len(estimate)
            one = slice(scan, scan + 1)
            attenuation = self.model.attenuation(batch.density[one])
            activity = images.activity(estimate)[one]
            expected = self.model.expected_counts(activity, attenuation, batch.duration_s[one])
            losses["data"] = poisson_deviance(expected, batch.projections[one])
            losses["count"] = count_mismatch(expected, batch.projections[one])
        return losses

    def _verdict(self, images: Images, estimate: Tensor) -> Tensor:
        """The generator's adversarial loss; no gradient is left in the discriminator."""
        self.discriminator.requires_grad_(False)
        scores = self.discriminator(estimate, images.initial, images.density)
        self.discriminator.requires_grad_(True)
        return generator_loss(scores, self.adversarial_kind)

    def _update_discriminator(self, images: Images, estimate: Tensor, done: int) -> Tensor:
        """One step of the discriminator; returns its loss."""
        optimiser = self._optimisers()[1]
        real = self.discriminator(images.truth, images.initial, images.density)
        fake = self.discriminator(estimate, images.initial, images.density)
        loss = discriminator_loss(real, fake, self.adversarial_kind)
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        _set_rate(optimiser, self.rates[1] * cosine_rate(done, self.steps))
        # Lightning's wrapper would count this step too, and global_step means generator updates.
        optimiser.optimizer.step()
        return loss.detach()

    def _update_generator(self, loss: Tensor, done: int) -> None:
        """One clipped step of the generator."""
        optimiser = self._optimisers()[0]
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.generator.parameters(), self.largest_gradient, error_if_nonfinite=True)
        _set_rate(optimiser, self.rates[0] * cosine_rate(done, self.steps))
        optimiser.step()

    def _optimisers(self) -> list[Any]:
        """Lightning's wrappers of the two optimisers."""
        optimisers = self.optimizers()
        return optimisers if isinstance(optimisers, list) else [optimisers]

    # Validation.

    def validation_step(self, batch: ScanBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Adds the batch to ``val/nrmse``."""
        initial, mask = self.inputs(batch)
        estimate = self.corrected(initial, batch.density[:, None], body_of(batch))
        self.validation_error.update(estimate, batch.activity, mask)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/nrmse``, the median over scans."""
        self.log("val/nrmse", self.validation_error.compute(), prog_bar=True)
        self.validation_error.reset()


def _drawn(factory: NetworkFactory, maps: int, seed: int) -> nn.Module:
    """A network whose first weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(maps)


def _set_rate(optimiser: Any, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _check(weights: dict[str, float], mirror_axes: Sequence[str], steps: int, data_interval: int) -> None:
    """Refuse settings that mean nothing."""
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise UserError(f"task.{name}_weight is {weight}; it needs to be 0 or more")
    unknown = [axis for axis in mirror_axes if axis not in AXES]
    if unknown:
        raise UserError(f"task.mirror_axes holds {unknown[0]!r}; it needs to be some of {sorted(AXES)}")
    for name, number in (("steps", steps), ("data_interval", data_interval)):
        if number < 1:
            raise UserError(f"task.{name} is {number}; it needs to be 1 or more")
