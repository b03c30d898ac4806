"""Training of a reconstructor: physics image in, better activity maps out, with or without an adversary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import AdamW

from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.losses import (
    CountMismatch,
    Loss,
    PoissonDeviance,
    RelativeError,
)
from hspi_learn.metrics import Reduction, scan_nrmse
from hspi_learn.reconstructor import ScanBatch, ScanContext, body_mean, nonzero
from hspi_learn.tasks.adversary import AdversarialTask, Adversary
from hspi_learn.tasks.alternating import InitialFactory
from hspi_learn.tasks.base import (
    Inputs,
    OptimizerFactory,
    ScheduleFactory,
    Watched,
    seeded_network,
)
from hspi_learn.tasks.images import Images, body_of, images_of
from hspi_learn.tasks.physics_input import BackProjection, PhysicsInput
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.visual.volumes import reconstruction_figure

NetworkFactory = Callable[[int], nn.Module]
GENERATOR_OPTIMIZER: OptimizerFactory = partial(AdamW, lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-4)


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


class GanReconstruction(AdversarialTask):
    """Generator that corrects a physics image, trained against truth, counts and a discriminator.

    The generator's loss is the weighted sum of ``losses`` and the discriminator's verdict
    (``adversarial``). Losses get the activity [batch, map, z, y, x] in Bq per voxel, the
    :class:`~hspi_learn.reconstructor.ScanBatch`, and a :class:`ReconstructionView`. Without an adversary, or
    with one of weight 0, there is no discriminator step: that is the control, with the same initial weights,
    batches and mirrors, since each network is drawn from its own seed and a step's chances are told from
    (seed, number of the step) alone.

    Activities are divided by each map's mean over the body in the physics image, and estimates multiplied
    back: k times the counts give k times the activity.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the generator for a number of maps.
        adversary: the discriminator and its part in the loss; None: there is none.
        initial: makes the physics image's method for a forward model.
        losses: by name; None weighs NRMSE 1, and every fourth step the Poisson deviance of the counts
            0.02 and the mismatch of their totals 0.05.
        optimizer: makes the generator's optimiser.
        schedule: makes both learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the generator's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights and mirrors.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: an axis that is not x, y or z, fewer than one batch an update, or settings of the adversary
            that do not fit each other.
    """

    watched: ClassVar[Watched] = Watched("val/nrmse", "min")
    reduction: ClassVar[Reduction] = "median"
    protocol: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        generator: NetworkFactory,
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
        default = {
            "voxel": RelativeError(1.0),
            "data": PoissonDeviance(0.02, every=4),
            "count": CountMismatch(0.05, every=4),
        }
        super().__init__(
            adversary,
            system=system,
            windows_kev=windows_kev,
            initial=initial,
            losses=default if losses is None else losses,
            optimizer=optimizer,
            schedule=schedule,
            mirror_axes=mirror_axes,
            largest_gradient=largest_gradient,
            accumulate_batches=accumulate_batches,
            seed=seed,
            ema_decay=ema_decay,
        )
        maps = len(system.groups.names)
        self.generator = seeded_network(lambda: generator(maps), seed)
        self.discriminator = self.discriminator_of(maps)
        self.average = self.average_of(self.generator)

    def networks(self) -> tuple[nn.Module, nn.Module | None]:
        """The generator and the discriminator."""
        return self.generator, self.discriminator

    # A reconstruction method like any other.

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        initial = self.initial.reconstruct(projections, context)
        return self.corrected(initial, context.density[:, None], context.body)

    def corrected(self, initial: Tensor, density: Tensor, body: Tensor) -> Tensor:
        """The generator's estimate from a physics image, both in Bq per voxel; zero outside the body."""
        scale = body_mean(initial, body)
        estimate: Tensor = self.predictor(initial / nonzero(scale), density)
        return scale * body * estimate

    # The contract of a task.

    def predict(self, inputs: Inputs) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel."""
        return self.reconstruct(inputs.values, inputs.context)

    def predict_batch(self, batch: ScanBatch) -> Tensor:
        """The same from the kept physics images."""
        return self.corrected(self.physics(batch).initial, batch.density[:, None], body_of(batch))

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """NRMSE in the voxels where it is measured, mean over maps."""
        return scan_nrmse(prediction, batch.activity, self.physics(batch).mask)

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """``nrmse``, without a unit."""
        return {"nrmse": self.per_sample_loss(prediction, batch)}

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

    def estimated(self, images: Images, batch: ScanBatch) -> Tensor:  # noqa: ARG002
        """The estimate of a training batch, divided and mirrored as its images are; zero outside the body."""
        estimate: Tensor = images.body * self.generator(images.initial, images.density)
        return estimate

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the generator, and before it one of the discriminator if there is an adversary."""
        self.update(batch, self.training_physics(batch), batch_idx)

    def update(self, batch: ScanBatch, inputs: PhysicsInput, batch_idx: int) -> None:
        """The same from the physics inputs of a batch, whose counts and truth the losses look at."""
        done = int(self.updates)
        images = images_of(batch, inputs, self.mirrors(done))
        estimate = self.estimated(images, batch)
        view = ReconstructionView(self.model, images.weight, done)
        losses = self.losses.computed(images.activity(estimate), batch, view, done)
        total = self.losses.weighted_sum(losses, estimate)
        conditions = images.initial, images.density
        total, told = self.against_adversary(total, estimate, images.truth, *conditions, batch_idx=batch_idx)
        told |= self.step_network(total, batch_idx)
        self.log_training({**losses, **told}, len(estimate))
