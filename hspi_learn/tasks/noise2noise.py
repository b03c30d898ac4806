"""Training of a reconstruction without truth: from one half of the counts, what is expected in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.random import seeded_generator
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import CountedScans, ScanDataModule
from hspi_learn.losses import Loss, PoissonDeviance, poisson_deviance
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks.adversary import Adversary
from hspi_learn.tasks.alternating import InitialFactory
from hspi_learn.tasks.base import OptimizerFactory, ScheduleFactory, Watched
from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.reconstruction import GENERATOR_OPTIMIZER, GanReconstruction, NetworkFactory
from hspi_learn.tasks.schedule import warm_up_cosine


class Noise2NoiseReconstruction(GanReconstruction):
    """A generator that learns from counts alone.

    The events of each scan are split at random into halves, which are independent Poisson counts of the same
    expectation. The generator makes an activity from the one; losses, which are told no truth, hold what it
    expects against the other (:class:`~hspi_learn.losses.PoissonDeviance`). A scan's halves are the same in
    every epoch, so that physics images are computed once. Validation is the deviance of the other half too:
    neither training nor the choice of weights sees a truth. Predictions are made from all counts. Source of
    the principle: Lehtinen et al., ICML 2018 (arXiv:1803.04189).

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        generator: makes the generator for a number of maps.
        adversary: none, or of weight 0: an adversary would have to be shown truths.
        initial: makes the physics image's method for a forward model.
        losses: by name, such as look at counts; None is the Poisson deviance. Further arguments: see
            :class:`~hspi_learn.tasks.GanReconstruction`.
        optimizer: makes the generator's optimiser.
        schedule: makes the learning-rate schedule; None keeps the rate.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the generator's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights, mirrors and halves.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: there is an adversary.
    """

    watched: ClassVar[Watched] = Watched("val/deviance", "min")

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
        if adversary is not None and adversary.strength > 0:
            raise UserError("task.adversary has a weight; without truth it needs adversary=none")
        super().__init__(
            system,
            windows_kev,
            generator,
            adversary,
            initial,
            {"data": PoissonDeviance()} if losses is None else losses,
            optimizer,
            schedule,
            mirror_axes,
            largest_gradient,
            accumulate_batches,
            seed,
            ema_decay,
        )

    def shown(self, batch: ScanBatch) -> ScanBatch:
        """The halves that the generator sees, with half the time, so that activity stays the same."""
        draws = [
            torch.binomial(
                counts.cpu(),
                torch.full(counts.shape, 0.5, dtype=counts.dtype),
                generator=seeded_generator(self.seed, "halves", int(index)),
            )
            for counts, index in zip(batch.projections, batch.index, strict=True)
        ]
        halves = torch.stack(draws).to(batch.projections)
        return batch._replace(projections=halves, duration_s=batch.duration_s / 2)

    def held_out(self, batch: ScanBatch) -> ScanBatch:
        """The other halves."""
        shown = self.shown(batch)
        return shown._replace(projections=batch.projections - shown.projections)

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """``deviance``: of the held-out half's counts, per count, by a reconstruction of the shown half.

        ``nrmse``, of the prediction from all counts, stands beside it where there is a truth to look at; it
        chooses nothing.
        """
        shown, other = self.shown(batch), self.held_out(batch)
        estimate = super().predict_batch(shown)
        attenuation = self.model.attenuation(batch.density)
        expected = self.model.expected_counts(estimate, attenuation, other.duration_s)
        pairs = zip(expected, other.projections, strict=True)
        deviance = torch.stack([poisson_deviance(e[None], counts[None]) for e, counts in pairs])
        return {"deviance": deviance, **super().scores(prediction, batch)}

    def setup(self, stage: str) -> None:
        """Keep physics images of whole scans and, for training and validation, of the shown halves."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ScanDataModule) and stage == "fit":
            for split in ("validation",) if data.fresh else ("train", "validation"):
                halves = _Shown(data.windowed(split), self)
                self.physics_inputs.prepare(halves, f"physics images of halves of {split} scans")

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the generator."""
        self.update(self.held_out(batch), self.training_physics(self.shown(batch)), batch_idx)


class _Shown:
    """Scans with the half of the counts that the generator sees."""

    def __init__(self, scans: CountedScans, task: Noise2NoiseReconstruction) -> None:
        self.scans, self.task = scans, task

    def by_object(self) -> Sequence[int]:
        return self.scans.by_object()

    def __getitem__(self, number: int) -> ScanBatch:
        single = ScanBatch(*(column[None] for column in self.scans[number]))
        return ScanBatch(*(column[0] for column in self.task.shown(single)))
