"""Training of a reconstruction that draws samples of the activity which the counts leave possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.losses import Loss, SampledL1
from hspi_learn.networks import CorrectionUNet
from hspi_learn.reconstructor import ScanBatch, ScanContext, body_mean, nonzero
from hspi_learn.tasks.adversary import Adversary
from hspi_learn.tasks.alternating import InitialFactory
from hspi_learn.tasks.base import OptimizerFactory, ScheduleFactory
from hspi_learn.tasks.images import images_of
from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.reconstruction import (
    GENERATOR_OPTIMIZER,
    GanReconstruction,
    NetworkFactory,
    ReconstructionView,
)
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.visual.volumes import reconstruction_figure

MOST_SAMPLES = 1024
"""Most samples at once; chosen, no source."""


class PosteriorView(ReconstructionView):
    """What losses are told of samples besides their mean: :class:`~hspi_learn.losses.posterior.Samples`."""

    samples: Tensor
    scale: Tensor


class PosteriorReconstruction(GanReconstruction):
    """A generator that also gets noise: each noise gives a sample of the activity, and their mean the image.

    Losses see the mean; :class:`~hspi_learn.losses.SampledL1` rewards the spread besides, and the adversary
    judges single samples. Predictions are the mean of ``predicted_samples``, of noise that is told from the
    seed alone, so that they are the same each time; :meth:`sampled` gives samples themselves. Source: Bendel,
    Ahmad and Schniter, NeurIPS 2023 (rcGAN, arXiv:2210.13389).

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the generator for a number of maps; one with ``noise_channels``.
        trained_samples: samples of each scan in an update.
        predicted_samples: samples whose mean is the prediction.
        adversary: the discriminator and its part in the loss; None: there is none.
        initial: makes the physics image's method for a forward model.
        losses: by name; None is :class:`~hspi_learn.losses.SampledL1`. Further arguments: see
            :class:`~hspi_learn.tasks.GanReconstruction`.
        optimizer: makes the generator's optimiser.
        schedule: makes both learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the generator's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights, mirrors and noise.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: fewer than two samples in training, none in predictions, or a generator without noise.
    """

    generator: CorrectionUNet

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        generator: NetworkFactory,
        trained_samples: int = 2,
        predicted_samples: int = 8,
        adversary: Adversary | None = None,
        initial: InitialFactory = BackProjection,
        losses: Mapping[str, Loss] | None = None,
        optimizer: OptimizerFactory = GENERATOR_OPTIMIZER,
        schedule: ScheduleFactory | None = warm_up_cosine,
        mirror_axes: Sequence[str] = ("x",),
        largest_gradient: float = 1.0,
        accumulate_batches: int = 1,
        seed: int = 0,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__(
            system,
            windows_kev,
            generator,
            adversary,
            initial,
            {"samples": SampledL1()} if losses is None else losses,
            optimizer,
            schedule,
            mirror_axes,
            largest_gradient,
            accumulate_batches,
            seed,
            ema_decay,
        )
        limits = {"trained_samples": (2, trained_samples), "predicted_samples": (1, predicted_samples)}
        for name, (least, value) in limits.items():
            if not least <= value <= MOST_SAMPLES:
                raise UserError(f"task.{name} is {value}; it needs to be from {least} to {MOST_SAMPLES}")
        if not getattr(self.generator, "noise_channels", 0):
            raise UserError("task.generator.noise_channels is 0; samples need 1 or more")
        self.trained_samples, self.predicted_samples = trained_samples, predicted_samples

    # Samples, and their mean as the reconstruction.

    def sampled(self, projections: Tensor, context: ScanContext, samples: int, seed: int = 0) -> Tensor:
        """Samples of the activity from counts [batch, pixel, window].

        Args:
            projections: counts.
            context: of the scans.
            samples: how many.
            seed: of the noise; sample k of a scan follows from (the task's seed, this one, k) alone.

        Returns:
            [sample, batch, map, z, y, x] in Bq per voxel.
        """
        initial = self.initial.reconstruct(projections, context)
        return self._samples(initial, context.density[:, None], context.body, self._noise(samples, seed))

    def corrected(self, initial: Tensor, density: Tensor, body: Tensor) -> Tensor:
        """The mean of samples from a physics image, all in Bq per voxel; zero outside the body."""
        return self._samples(initial, density, body, self._noise(self.predicted_samples, 0)).mean(dim=0)

    def _noise(self, samples: int, seed: int) -> Tensor:
        """Normal noise [sample, 1, noise channel, z, y, x], the same for every scan."""
        shape = (1, self.generator.noise_channels, *self.model.grid.shape)
        return torch.stack([torch.randn(shape, generator=self._chance(seed, k)) for k in range(samples)])

    def _chance(self, *numbers: int) -> torch.Generator:
        """A generator that follows from the task's seed and these numbers alone."""
        name = self.seed
        for number in numbers:
            name = name * 1_000_003 + number
        return torch.Generator().manual_seed(name % 2**63)

    def _samples(self, initial: Tensor, density: Tensor, body: Tensor, noise: Tensor) -> Tensor:
        """[sample, batch, map, z, y, x] in Bq per voxel, one of each noise."""
        scale = body_mean(initial, body)
        divided = initial / nonzero(scale)
        each = (one.to(divided).expand(len(divided), -1, -1, -1, -1) for one in noise)
        return torch.stack([scale * body * self.predictor(divided, density, noise=one) for one in each])

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        """Every map of the first scan beside its truth, one sample and their standard deviation, in Bq/mL."""
        scan = ScanBatch(*(column[:1] for column in batch))
        inputs = self.inputs(scan)
        samples = self.sampled(inputs.values, inputs.context, max(2, self.predicted_samples))
        shown = {
            "truth": scan.activity,
            "mean of samples": samples.mean(dim=0),
            "one sample": samples[0],
            "standard deviation": samples.std(dim=0),
        }
        per_ml = 1.0 / self.model.grid.voxel_volume_ml
        for index, name in enumerate(self.model.groups.names):
            volumes = {label: (maps[0, index] * per_ml).cpu().numpy() for label, maps in shown.items()}
            title = f"{name}, validation scan {int(scan.index[0])}"
            yield name, reconstruction_figure(volumes, self.model.grid.spacing_mm, "Bq/mL", title=title)

    # Training.

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the generator, and before it one of the discriminator if there is an adversary."""
        done, number = int(self.updates), self.trained_samples
        images = images_of(batch, self.training_physics(batch), self.mirrors(done))
        shape = (number, len(images.initial), self.generator.noise_channels, *self.model.grid.shape)
        turn = batch_idx % self.accumulate_batches
        noise = torch.randn(shape, generator=self._chance(-1, done, turn)).to(images.initial)
        # One tensor, of which losses and verdict are both functions: gradients at it may be compared.
        single = torch.cat(
            [images.body * self.generator(images.initial, images.density, noise=one) for one in noise]
        )
        samples = single.unflatten(0, (number, -1))
        view = PosteriorView(self.model, images.weight, done)
        view.samples, view.scale = torch.stack([images.activity(one) for one in samples]), images.scale
        losses = self.losses.computed(view.samples.mean(dim=0), batch, view, done)
        total = self.losses.weighted_sum(losses, samples)
        truth = images.truth.repeat(number, 1, 1, 1, 1)
        conditions = (one.repeat(number, 1, 1, 1, 1) for one in (images.initial, images.density))
        total, told = self.against_adversary(total, single, truth, *conditions, batch_idx=batch_idx)
        told |= self.step_network(total, batch_idx)
        self.log_training({**losses, **told}, len(batch.projections))
