"""Denoising of projections: counts on a camera's panels in, expected counts out; with or without truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import AdamW

from data_gen.core.errors import UserError
from data_gen.core.random import Range, checked_range, log_uniform, seeded_generator
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.classical import PrincipalProjections
from hspi_learn.data import CountedScans, PanelLayout, ScanDataModule, mirrored_pixels
from hspi_learn.losses import Loss, ProjectionError, TargetDeviance
from hspi_learn.metrics import Reduction, count_weighted, projection_nrmse
from hspi_learn.reconstructor import ScanBatch, nonzero
from hspi_learn.tasks.adversary import AdversarialTask, Adversary
from hspi_learn.tasks.alternating import AXES, InitialFactory
from hspi_learn.tasks.base import Inputs, OptimizerFactory, ScheduleFactory, Watched, seeded_network
from hspi_learn.tasks.expected_counts import ExpectedCounts
from hspi_learn.tasks.physics_input import BackProjection, PhysicsInputs
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.visual.projections import projection_figure

Target = Literal["expected", "split"]
"""What is learnt from: the noise-free expectation of the truth, or another part of the same counts."""

NetworkFactory = Callable[[int, int], nn.Module]
"""Makes a :class:`~hspi_learn.networks.ProjectionDenoiser` for a number of panels and of windows."""

NETWORK_OPTIMIZER: OptimizerFactory = partial(AdamW, lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)


MOST_FITTED = 1000
"""Training scans whose expectations the linear estimate is fitted to, at most."""

MOST_PROJECTED = 200
"""Training scans whose physics images are projected for it, at most: half a CPU second each in the demo."""


class ScanObject(NamedTuple):
    """What a scan is of, for methods that compare counts with a model."""

    density: Tensor
    """[batch, z, y, x] in g/cm3."""
    duration_s: Tensor
    """[batch] in s."""


class Parts(NamedTuple):
    """What the network sees of a batch in training, and what its prediction is held against."""

    shown: Tensor
    """Counts [batch, pixel, window]."""
    shown_share: Tensor
    """Share of the scan's counts that is shown [batch, 1, 1]."""
    target: Tensor
    """Noise-free expectation, or other counts of the same scan [batch, pixel, window]."""
    target_share: Tensor
    """Share of the scan's counts that the target holds [batch, 1, 1]."""
    live: Tensor
    """Pixels that record [pixel], 0 or 1."""


@dataclass(frozen=True)
class DenoisingView:
    """What the losses of a denoiser are told besides prediction and batch.

    Args:
        target: counts [batch, pixel, window] to expect: noise-free, or an independent part of those measured.
        share: share of the scan's counts that the target holds [batch, 1, 1].
        step: updates done.
    """

    target: Tensor
    share: Tensor
    step: int


class Denoising(AdversarialTask):
    """Tells from the counts of a scan what was to be expected of them, in every pixel and window.

    A prediction is [batch, pixel, window], 0 or more, 0 in dead pixels. A linear estimate from principal
    components of the training scans (:class:`~hspi_learn.classical.PrincipalProjections`) is corrected by a
    network that sees all panels as images.

    In a training step the network sees a share q of the counts (binomial thinning; q is log-uniform in
    ``thinning``), so that one network serves many count levels, and its expectation over q is that of the
    whole scan. Two kinds of target:

    - ``expected``: the noise-free expectation of the truth, through the forward model.
    - ``split``: without truth (Noise2Noise, Lehtinen et al., ICML 2018, arXiv:1803.04189). The network sees a
      binomial share q / 2 of the counts and is held against all others, which expect 1 - q / 2 of the same.
      Both parts of Poisson counts are Poisson and independent, so that the mean of the one is the best
      prediction of the other. q = 1 gives halves. Later predictions are made from all counts: the linear
      estimate is proportional to the counts, the network's factor is relative to it, and both are told how
      many counts there are, so that nothing is to be scaled; the network has then seen half of them at most.

    Losses get the expected counts of the whole scan, the :class:`~hspi_learn.reconstructor.ScanBatch`, and a
    :class:`DenoisingView`.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        network: makes the network for a number of panels and of windows.
        adversary: a discriminator of single panels, told the noise-free expectation from estimates beside the
            counts that the network saw, all relative to these counts' mean in each window; None: there is
            none. It is made for the number of windows, as ``network/panel_discriminator``.
        initial: makes the physics images of training scans for ``split``, for the linear estimate.
        target: ``expected`` or ``split``.
        thinning: least and largest share of the counts that is used in a step.
        components: principal components of the linear estimate.
        spectra: combinations of windows that the linear estimate keeps in each pixel.
        losses: by name; None: the NRMSE for ``expected``, the Poisson deviance for ``split``.
        optimizer: makes the network's optimiser.
        schedule: makes the learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which the object of a batch is mirrored half of the time.
        largest_gradient: norm to which the network's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights, thinning and mirrors.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: an axis along which the camera is no mirror image of itself, a share outside 0 to 1, a loss
            that needs the truth where it is not told, or fewer than one batch an update.
    """

    watched: ClassVar[Watched] = Watched("val/projection_nrmse", "min")
    reduction: ClassVar[Reduction] = "mean"
    protocol: ClassVar[str] = "denoising"

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        network: NetworkFactory,
        adversary: Adversary | None = None,
        initial: InitialFactory = BackProjection,
        target: Target = "expected",
        thinning: Range = (0.1, 1.0),
        components: int = 128,
        spectra: int = 6,
        losses: Mapping[str, Loss] | None = None,
        optimizer: OptimizerFactory = NETWORK_OPTIMIZER,
        schedule: ScheduleFactory | None = warm_up_cosine,
        mirror_axes: Sequence[str] = ("x",),
        largest_gradient: float = 1.0,
        accumulate_batches: int = 1,
        seed: int = 0,
        ema_decay: float | None = None,
    ) -> None:
        usual: Loss = ProjectionError() if target == "expected" else TargetDeviance()
        super().__init__(
            adversary,
            system=system,
            windows_kev=windows_kev,
            initial=initial,
            losses={"error": usual} if losses is None else losses,
            optimizer=optimizer,
            schedule=schedule,
            mirror_axes=mirror_axes,
            largest_gradient=largest_gradient,
            accumulate_batches=accumulate_batches,
            seed=seed,
            ema_decay=ema_decay,
        )
        if target == "split" and adversary is not None and adversary.weight > 0:
            raise UserError(
                f"task.adversary.weight is {adversary.weight} and task.target split, which has no noise-free "
                "counts to show to it; it needs 0, as with adversary=none"
            )
        for name, loss in self.losses.terms().items():
            if target == "split" and isinstance(loss, ProjectionError) and loss.weight > 0:
                raise UserError(
                    f"task.losses.{name} is the error against noise-free counts, and task.target is split, "
                    "which has none; it needs a weight of 0, and TargetDeviance one above 0"
                )
        self.target: Target = target
        self.thinning = checked_range("task.thinning", thinning, above=1e-6, most=1.0)
        self.layout = PanelLayout.of(self.model.camera)
        windows = self.windows.count
        self.first = PrincipalProjections(self.layout, windows, components, spectra)
        self.network = seeded_network(lambda: network(self.layout.panels, windows), seed)
        self.discriminator = self.discriminator_of(windows)
        self.average = self.average_of(self.network)
        self._partners = {AXES[axis]: mirrored_pixels(self.model.camera, axis) for axis in mirror_axes}
        self.truths = ExpectedCounts(system, self.model)
        self._last_truth: tuple[ScanBatch, Tensor] | None = None

    def networks(self) -> tuple[nn.Module, nn.Module | None]:
        """The network and the discriminator."""
        return self.network, self.discriminator

    @property
    def live(self) -> Tensor:
        """Pixels that record [pixel], 0 or 1."""
        return (self.model.recording.live > 0).float()

    # The contract of a task.

    def inputs(self, batch: ScanBatch) -> Inputs:
        """The counts; what the scans are of stands in the context, which the network is not told."""
        return Inputs(batch.projections, "counts", ScanObject(batch.density, batch.duration_s))

    def expected(self, batch: ScanBatch) -> Tensor:
        """Counts [batch, pixel, window] that the truth makes expected."""
        if self._last_truth is None or self._last_truth[0] is not batch:
            self._last_truth = batch, self.truths(batch)
        return self._last_truth[1]

    def predict(self, inputs: Inputs) -> Tensor:
        """Expected counts [batch, pixel, window]."""
        return self.denoised(inputs.values)

    def denoised(self, counts: Tensor, live: Tensor | None = None) -> Tensor:
        """Expected counts of counts, both [batch, pixel, window].

        Args:
            counts: those in dead pixels are not looked at.
            live: pixels that record [pixel], 0 or 1; None: the system's.
        """
        return self._by(self.predictor, counts, (self.live if live is None else live).to(counts))

    def linear(self, counts: Tensor) -> Tensor:
        """The linear estimate that the network corrects, [batch, pixel, window]."""
        live = self.live.to(counts)
        found: Tensor = self.first(live[:, None] * counts, live)
        return found

    def _by(self, network: nn.Module, counts: Tensor, live: Tensor) -> Tensor:
        """Expected counts by the network that is trained, or by its average."""
        seen = live[:, None] * counts
        first = self.first(seen, live)
        images = (self.layout.images(part) for part in (seen, first))
        mask = self.layout.images(live[None, :, None])[0, :, 0]
        return live[:, None] * self.layout.counts(network(*images, mask))

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """NRMSE against the noise-free expectation in each window, mean weighted by counts."""
        expected = self.expected(batch).to(prediction)
        return count_weighted(projection_nrmse(prediction, expected), expected)

    def loss_view(self, batch: ScanBatch, inputs: Inputs) -> DenoisingView:  # noqa: ARG002
        """The noise-free expectation."""
        expected = self.expected(batch)
        return DenoisingView(expected, expected.new_ones(len(expected), 1, 1), int(self.updates))

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """NRMSE against the noise-free expectation, without a unit.

        ``projection_nrmse``: mean over windows, weighted by counts; ``projection_nrmse_20_69kev``: of that
        window. NaN where nothing is expected.
        """
        expected = self.expected(batch).to(prediction)
        by_window = projection_nrmse(prediction, expected)
        names = (f"projection_nrmse_{name}" for name in self.window_names)
        return {
            "projection_nrmse": count_weighted(by_window, expected),
            **dict(zip(names, by_window.unbind(dim=1), strict=True)),
        }

    @property
    def window_names(self) -> tuple[str, ...]:
        """Lowest and highest energy of each window, as in ``20_69kev``."""
        return tuple(f"{low:g}_{high:g}kev" for low, high in pairwise(self.windows.boundaries_kev))

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        """The panel of the first scan that sees most: expectation, counts and estimate, all windows added."""
        scan = ScanBatch(*(column[:1] for column in batch))
        shown = {
            "expectation": self.expected(scan),
            "counts": scan.projections,
            "denoised": self.predict_batch(scan),
        }
        images = {name: self.layout.images(counts)[0].sum(dim=1) for name, counts in shown.items()}
        panel = int(images["expectation"].sum((1, 2)).argmax())
        title = f"panel {panel}, scan {int(scan.index[0])}"
        arrays = {name: stack[panel].detach().cpu().numpy() for name, stack in images.items()}
        yield "panel", projection_figure(arrays, self.model.camera.spec.detector.pitch_mm, title)

    # Training.

    def setup(self, stage: str) -> None:
        """Keep expectations beside the data set, compute missing ones, and fit the linear estimate."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ScanDataModule):
            return
        self.truths.keep_beside(data.folder)
        self.physics_inputs.keep_beside(data.folder)
        splits = {"fit": ["validation"], "validate": ["validation"], "test": ["test"]}.get(stage, [])
        if stage == "fit" and self.target == "expected" and not data.fresh:
            splits.append("train")
        for split in splits:
            scans = data.windowed(split)
            self.truths.prepare(scans, f"expected counts of {split} scans", scans.by_object())
        if stage == "fit":
            self.fit_first(data)

    def fit_first(self, data: ScanDataModule) -> None:
        """Find mean and principal components of training scans.

        Of their noise-free expectations; or, without truth, of what the forward model expects of their
        physics images: these know how projections may look, and halves of the counts how much they vary.
        """
        scans = data.windowed("train")
        if self.target == "expected":
            numbers = scans.by_object()[:MOST_FITTED]
            self.first.fit([self.truths(_single(scans[number]))[0].cpu() for number in numbers])
            return
        numbers = scans.by_object()[:MOST_PROJECTED]
        imaged = _Imaged(scans, self.physics_inputs)
        self.truths.prepare(imaged, "projected physics images", numbers)
        generator = seeded_generator(self.seed, "halves")
        counts = [scans[number].projections for number in numbers]
        halves = [torch.binomial(one, torch.full_like(one, 0.5), generator=generator) for one in counts]
        others = [one - half for one, half in zip(counts, halves, strict=True)]
        self.first.fit(
            [self.truths(_single(imaged[number]))[0].cpu() for number in numbers], (halves, others)
        )

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the network."""
        done = int(self.updates)
        parts = self.mirrored(self.drawn(batch, done), self.mirrors(done))
        counts, level = self._relative(parts.shown)
        estimate, _ = self._relative(self._by(self.network, parts.shown, parts.live), level)
        whole = self._absolute(estimate, level / parts.shown_share)
        view = DenoisingView(parts.target, parts.target_share, done)
        losses = self.losses.computed(whole, batch, view, done)
        total = self.losses.weighted_sum(losses, estimate)
        told: dict[str, Tensor] = {}
        if self.target == "expected":
            truth, _ = self._relative(parts.shown_share * parts.target, level)
            total, told = self.against_adversary(total, estimate, truth, counts, batch_idx=batch_idx)
        told |= self.step_network(total, batch_idx)
        self.log_training({**losses, **told}, len(whole))

    def _relative(self, counts: Tensor, level: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Counts as images of single panels [batch * panel, window, row, column], relative to the mean of
        each window [batch, 1, window], which is their own unless it is given.
        """
        if level is None:
            level = nonzero(counts.mean(dim=1, keepdim=True))
        return self.layout.images(counts / level).flatten(0, 1), level

    def _absolute(self, images: Tensor, level: Tensor) -> Tensor:
        """The inverse of :meth:`_relative`."""
        return level * self.layout.counts(images.unflatten(0, (len(level), self.layout.panels)))

    def drawn(self, batch: ScanBatch, done: int) -> Parts:
        """What the network sees of a batch after so many updates, and what it is held against.

        Told from the seed, the number of the update and the scans alone.
        """
        generator = seeded_generator(self.seed, "thinning", done, int(batch.index[0]))
        shares = [log_uniform(self.thinning, generator) for _ in batch.index]
        if self.target == "split":
            shares = [share / 2 for share in shares]
        counts = batch.projections.cpu()
        share = torch.tensor(shares, dtype=counts.dtype)[:, None, None]
        shown = torch.binomial(counts, share.expand_as(counts), generator=generator).to(batch.projections)
        share, live = share.to(shown), self.live.to(shown)
        if self.target == "expected":
            return Parts(
                shown, share, live[:, None] * self.training_truth(batch), torch.ones_like(share), live
            )
        return Parts(shown, share, live[:, None] * (batch.projections - shown), 1 - share, live)

    def training_truth(self, batch: ScanBatch) -> Tensor:
        """The noise-free expectation of a training batch; of scans that never come again nothing is kept."""
        data = getattr(self.trainer, "datamodule", None)
        fresh = isinstance(data, ScanDataModule) and data.fresh
        return self.truths.once(batch) if fresh else self.truths(batch)

    def mirrored(self, parts: Parts, axes: tuple[int, ...]) -> Parts:
        """What would have been seen of the objects mirrored along these axes."""
        for axis in axes:
            order = self._partners[axis].to(parts.shown.device)
            parts = parts._replace(
                shown=parts.shown[:, order], target=parts.target[:, order], live=parts.live[order]
            )
        return parts


class _Imaged:
    """Scans with their physics image in the place of the truth.

    Args:
        scans: each without its batch axis.
        images: makes the physics images.
    """

    def __init__(self, scans: CountedScans, images: PhysicsInputs) -> None:
        self.scans, self.images = scans, images

    def __getitem__(self, number: int) -> ScanBatch:
        scan = self.scans[number]
        return scan._replace(activity=self.images(_single(scan)).initial[0].cpu())


def _single(scan: ScanBatch) -> ScanBatch:
    """A scan as a batch of one."""
    return ScanBatch(*(column[None] for column in scan))
