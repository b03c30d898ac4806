"""Training of an unrolled reconstruction: stage by stage on kept images, then all stages together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import SequentialLR

from data_gen.core.autograd import recomputed
from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.classical import Osem
from hspi_learn.classical.ordered_subsets import OrderedSubsets
from hspi_learn.data import ScanDataModule, fingerprint
from hspi_learn.losses import Loss
from hspi_learn.networks import UnrolledEm
from hspi_learn.reconstructor import ScanBatch, ScanContext, body_mean, nonzero, scan_context
from hspi_learn.tasks.adversary import Adversary
from hspi_learn.tasks.alternating import InitialFactory
from hspi_learn.tasks.base import OptimizerFactory, ScheduleFactory
from hspi_learn.tasks.images import Images, images_of
from hspi_learn.tasks.physics_input import BackProjection, PhysicsInput, PhysicsInputs
from hspi_learn.tasks.reconstruction import GENERATOR_OPTIMIZER, GanReconstruction
from hspi_learn.tasks.schedule import warm_up_cosine

EmFactory = Callable[[HyperspectralForwardModel], OrderedSubsets]
"""Makes the iterations between two networks for a forward model."""

EM_ITERATION: EmFactory = partial(Osem, iterations=1, subsets=6)

CODE_VERSION = 1
"""Raised whenever the images that stages are trained on change, so that kept ones are computed again."""


class UnrolledReconstruction(GanReconstruction):
    """Networks and EM iterations in turn, trained one network after another, and then together.

    Each stage of the generator gets an equal share of the updates that ``together_share`` leaves. In those of
    stage k its network alone is trained, on the images of the stages before and on these after EM: they are
    computed once, by all cores, and kept beside the data set. So a stage costs no more in training than a
    plain network, and an EM iteration a scan before it. In the last share all networks are trained at once,
    through the EM iterations, which are computed again in the backward pass: dear, some seconds a batch.

    Validation in the updates of a stage judges what the stages up to it give; weights that are published are
    those of the best validation, as ever, and a stage that was not trained hands on the image before.
    Everything else is as in :class:`~hspi_learn.tasks.GanReconstruction`, ``losses`` and adversary included.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the stages for a number of maps.
        em: makes the EM iterations between two networks for a forward model; their number and subsets are
            its own.
        together_share: share of the updates in which all stages are trained at once.
        adversary: the discriminator and its part in the loss; None: there is none.
        initial: makes the physics image's method for a forward model.
        losses: see :class:`~hspi_learn.tasks.GanReconstruction`, as all that follow.
        optimizer: makes the optimiser of all stages.
        schedule: makes the learning-rate schedule, begun anew with each stage; None keeps the rate.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights and mirrors.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: a share outside 0 to 1; and see :class:`~hspi_learn.tasks.GanReconstruction`.
    """

    generator: UnrolledEm

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        generator: Callable[[int], UnrolledEm] = UnrolledEm,
        em: EmFactory = EM_ITERATION,
        together_share: float = 0.0,
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
            losses,
            optimizer,
            schedule,
            mirror_axes,
            largest_gradient,
            accumulate_batches,
            seed,
            ema_decay,
        )
        if not 0 <= together_share <= 1:
            raise UserError(f"task.together_share is {together_share}; it needs to be from 0 to 1")
        self.together_share = together_share
        self.em = em(self.model)
        self._begun: tuple[int, PhysicsInputs | None] | None = None

    # A reconstruction method like any other.

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        return self._all_stages(self.initial.reconstruct(projections, context), projections, context)

    def predict_batch(self, batch: ScanBatch) -> Tensor:
        """The same from the kept physics images; in a training, by the stages up to the present one."""
        if self._begun is not None and self._begun[0] < len(self.generator.stages):
            images = images_of(batch, self.physics(batch), ())
            return images.activity(self._by_stage(self.predicting, images, batch, once=False))
        context = scan_context(self.model, batch.density, batch.duration_s)
        return self._all_stages(self.physics(batch).initial, batch.projections, context)

    @property
    def predicting(self) -> UnrolledEm:
        """The stages that predict: the trained ones, or their running average."""
        assert isinstance(self.predictor, UnrolledEm)
        return self.predictor

    def _all_stages(self, initial: Tensor, projections: Tensor, context: ScanContext) -> Tensor:
        """The estimate from a physics image, both in Bq per voxel."""
        scale = body_mean(initial, context.body)
        em = self.em_iteration(projections, context, scale)
        density = context.density[:, None]
        estimate: Tensor = self.predicting(initial / nonzero(scale), density, context.body, em)
        return scale * estimate

    def em_iteration(
        self, projections: Tensor, context: ScanContext, scale: Tensor, axes: tuple[int, ...] = ()
    ) -> Callable[[Tensor], Tensor]:
        """EM of images that are divided by ``scale`` and mirrored along ``axes``."""

        def after(image: Tensor) -> Tensor:
            activity = image.flip(axes) * scale
            continued = partial(self.em.continued, projections=projections, context=context)
            found = recomputed(continued, activity, needed=activity.requires_grad)
            return (found / nonzero(scale)).flip(axes)

        return after

    # Training.

    @property
    def lengths(self) -> list[int]:
        """Updates of each stage, and of all together at the end."""
        stages, total = len(self.generator.stages), self.total_updates()
        alone = round((1 - self.together_share) * total)
        ends = [alone * number // stages for number in range(stages + 1)]
        return [*(end - start for start, end in itertools.pairwise(ends)), total - alone]

    def scheduled(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimiser with the task's schedule, begun anew with each stage, in Lightning's form."""
        if self.schedule_factory is None:
            return {"optimizer": optimizer}
        lengths = [length for length in self.lengths if length]
        parts = [self.schedule_factory(optimizer, length) for length in lengths]
        ends = [sum(lengths[: n + 1]) for n in range(len(lengths) - 1)]
        schedule = SequentialLR(optimizer, parts, ends)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Begin the stage that the first update belongs to."""
        super().on_fit_start()
        self._ends = torch.tensor(self.lengths).cumsum(0).tolist()
        self._begin(self._stage())

    def on_train_batch_start(self, batch: ScanBatch, batch_idx: int) -> None:
        """Begin the stage that this update belongs to, if that is another."""
        super().on_train_batch_start(batch, batch_idx)
        if self._begun is None or self._begun[0] != self._stage():
            self._begin(self._stage())

    def on_fit_end(self) -> None:
        """From now on predictions are those of all stages."""
        self._begun = None

    def _stage(self) -> int:
        """The stage that this update trains; the number of all of them where all are trained."""
        done = int(self.updates)
        return next((stage for stage, end in enumerate(self._ends) if done < end), len(self._ends) - 1)

    def _begin(self, stage: int) -> None:
        """Train the network of this stage alone, on images that are computed now; or all networks."""
        together = stage == len(self.generator.stages)
        for number, network in enumerate(self.generator.stages):
            if self.average is not None and number < stage:
                network.load_state_dict(self.predicting.stages[number].state_dict())
            network.requires_grad_(together or number == stage)
        if stage == 0 or together:
            self._begun = stage, None
            return
        inputs = PhysicsInputs(self.system, self.model, EarlierStages(self, stage))
        self._begun = stage, inputs
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ScanDataModule):
            return
        inputs.keep_beside(data.folder)
        seen = self.lengths[stage] * data.batch_size * self.accumulate_batches
        for split in ("train", "validation"):
            if split != "train" or (not data.fresh and seen >= len(data.windowed(split))):
                title = f"{split} images of stage {stage} of {len(self.generator.stages) - 1}"
                inputs.prepare(data.windowed(split), title)

    def estimated(self, images: Images, batch: ScanBatch) -> Tensor:
        """The estimate of a training batch by the stages up to the present one, as its images are."""
        assert self._begun is not None
        if self._begun[0] < len(self.generator.stages):
            return self._by_stage(self.generator, images, batch, once=self.data_is_fresh)
        context = scan_context(self.model, batch.density, batch.duration_s)
        em = self.em_iteration(batch.projections, context, images.scale, images.axes)
        together: Tensor = self.generator(images.initial, images.density, images.body, em)
        return together

    def _by_stage(self, network: UnrolledEm, images: Images, batch: ScanBatch, once: bool) -> Tensor:
        """The estimate by the present stage of a network, from kept images of those before."""
        assert self._begun is not None
        stage, kept = self._begun
        if kept is None:
            return network.stage(0, images.initial, images.density, images.body)
        found: PhysicsInput = kept.once(batch) if once else kept(batch)
        before, after = (images.divided(one) for one in found.initial.chunk(2, dim=1))
        return network.stage(stage, before, images.density, images.body, lambda _: after)


class EarlierStages:
    """What a stage is trained on: images of the stages before it, and these after EM.

    Args:
        task: the training; the stages before are what they are now.
        stage: number of the stage that is trained on them, from 1.
    """

    def __init__(self, task: UnrolledReconstruction, stage: int) -> None:
        self.task, self.stage = task, stage

    @property
    def settings(self) -> dict[str, Any] | None:
        """All that the images depend on besides the model, the counts and the object, as plain data."""
        initial = getattr(self.task.initial, "settings", None)
        if initial is None:
            return None
        earlier = self.task.predicting.stages[: self.stage]
        return {
            "method": "earlier_stages",
            "version": CODE_VERSION,
            "initial": initial,
            "em": self.task.em.settings,
            "weights": fingerprint(*earlier.state_dict().values()),
        }

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity before and after EM, [1, 2 map, z, y, x] in Bq per voxel; counts [1, pixel, window]."""
        task = self.task
        scan = projections[0], context.duration_s[0], context.density[0]
        initial = task.physics_inputs.image(*scan)[None].to(projections.device)
        scale, density = body_mean(initial, context.body), context.density[:, None]
        em = task.em_iteration(projections, context, scale)
        image = initial / nonzero(scale)
        for number in range(self.stage):
            image = task.predicting.stage(number, image, density, context.body, em)
        return scale.repeat(1, 2, 1, 1, 1) * torch.cat((image, em(image)), dim=1)
