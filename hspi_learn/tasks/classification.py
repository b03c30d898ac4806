"""Classification of scans from their panel images: no physics image is made, and none is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from data_gen.core.errors import UserError
from data_gen.core.random import checked_range, seeded_generator
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.data import PanelLayout, mirrored_pixels
from hspi_learn.losses import Loss
from hspi_learn.metrics import one_against_rest_auc
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks.base import Inputs, OptimizerFactory, ScheduleFactory, Task, Watched, seeded_network
from hspi_learn.tasks.mirrored_scans import mirrored
from hspi_learn.tasks.scan_classes import ScanClasses
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.visual import panel_figure

NetworkFactory = Callable[[int, int, int], nn.Module]
"""Makes a network for numbers of panels, of images of each, and of classes."""

NETWORK_OPTIMIZER: OptimizerFactory = partial(AdamW, lr=3e-3, weight_decay=1e-2)


class Classification(Task):
    """Tells the class of a scan from its counts, as images of each panel and energy window.

    A prediction is the logits [batch, class]. The network sees the counts of all windows together and, if
    asked to, of each: n becomes 2 sqrt(n + 3/8) - 2 sqrt(3/8), whose noise has the same size whatever n
    (Anscombe, Biometrika 35 (1948) 246) and whose slope is finite down to n = 0, over its mean in the scan,
    less 1. The logarithm of a scan's counts is told beside it, so that one network serves scans of many and
    of few. All of this is differentiable in counts.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        network: makes the network for numbers of panels, of images of each, and of classes; it returns
            logits.
        classes: which classes there are, and which one a scan is of.
        spectral: whether the network sees an image of each energy window beside that of all together.
        thinning: [lowest, highest] share of the counts that training steps see, drawn log-uniformly for each
            scan and step; None: all of them.
        mirror_axes: axes (x, y, z) along which each scan is mirrored in half of the training steps; the
            camera needs to be its own mirror image along them.
        losses: by name; None is the cross entropy.
        optimizer: makes the optimiser.
        schedule: makes the learning-rate schedule; None keeps the rate.
        seed: of weights and thinning.

    Raises:
        UserError: a share of the counts is outside (0, 1], or the camera is not its own mirror image.
    """

    watched: ClassVar[Watched] = Watched("val/accuracy", "max")
    higher_is_better = frozenset({"accuracy"})
    protocol: ClassVar[str] = "classification"

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        network: NetworkFactory,
        classes: ScanClasses,
        spectral: bool = False,
        thinning: Sequence[float] | None = None,
        mirror_axes: Sequence[str] = (),
        losses: Mapping[str, Loss] | None = None,
        optimizer: OptimizerFactory = NETWORK_OPTIMIZER,
        schedule: ScheduleFactory | None = warm_up_cosine,
        seed: int = 0,
    ) -> None:
        super().__init__(system, windows_kev, losses, optimizer, schedule, seed)
        self.classes, self.spectral = classes, spectral
        self.thinning = None if thinning is None else checked_range("task.thinning", thinning, most=1.0)
        if self.thinning is not None and self.thinning[0] <= 0:
            raise UserError(f"task.thinning is {list(self.thinning)}; its lowest share needs to be above 0")
        camera = system.camera
        self.mirrors = {axis: mirrored_pixels(camera, axis) for axis in mirror_axes}
        self.layout = PanelLayout.of(camera)
        self.network = seeded_network(
            lambda: network(camera.panels, 1 + spectral * self.windows.count, len(classes.names)), seed
        )
        self._predicted: list[tuple[Tensor, Tensor]] = []

    # The contract of a task.

    def inputs(self, batch: ScanBatch) -> Inputs:
        """The counts.

        Raises:
            UserError: they are negative, NaN or infinite.
        """
        counts = batch.projections
        if not bool((torch.isfinite(counts) & (counts >= 0)).all()):
            raise UserError("counts hold negative, NaN or infinite values; they need 0 or more")
        return Inputs(counts, "counts")

    def predict(self, inputs: Inputs) -> Tensor:
        """Logits [batch, class] from counts [batch, pixel, window]."""
        counts = inputs.values
        seen = _stable(counts.sum(dim=2, keepdim=True))
        if self.spectral:
            seen = torch.cat((seen, _stable(counts)), dim=2)
        logits: Tensor = self.network(self.layout.images(seen), counts.sum(dim=(1, 2)).log1p())
        return logits

    def truth(self, batch: ScanBatch) -> Tensor:
        """Class of each scan [batch], int64."""
        return self.classes.of(batch).to(batch.projections.device)

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """Cross entropy in nats."""
        return functional.cross_entropy(prediction, self.truth(batch), reduction="none")

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """``accuracy``: 1 where the most likely class is the true one, else 0; ``cross_entropy`` in nats."""
        right = prediction.argmax(dim=1) == self.truth(batch)
        return {"accuracy": right.float(), "cross_entropy": self.per_sample_loss(prediction, batch)}

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        """The panel images of the first scan, all windows added, with its true and its predicted class."""
        scan = ScanBatch(*(column[:1] for column in batch))
        likely = self.predict_batch(scan).softmax(dim=1)[0]
        predicted = int(likely.argmax())
        words = [name.replace("_", " ") for name in self.classes.names]
        title = (
            f"scan {int(scan.index[0])}: {words[int(self.truth(scan)[0])]}, "
            f"predicted {words[predicted]} ({float(likely[predicted]):.0%})"
        )
        counts = self.layout.images(scan.projections.sum(dim=2, keepdim=True))[0, :, 0]
        yield "panels", panel_figure(counts.cpu().numpy(), title)

    def expected(self, batch: ScanBatch) -> Tensor:
        """Counts that the truth gives on average, [batch, pixel, window]; only evaluations ask for it."""
        model = self._model.to(batch.density.device)
        attenuation = model.attenuation(batch.density)
        return model.expected_counts(batch.activity, attenuation, batch.duration_s)

    @cached_property
    def _model(self) -> HyperspectralForwardModel:
        """The forward model, made when it is first asked for: no training or prediction does."""
        return self.system.forward_model(self.windows)

    # Training.

    def on_train_start(self) -> None:
        """Refuse scans that are all of one class, from which nothing can be learnt.

        Raises:
            UserError: they are.
        """
        scans = getattr(self.trainer.train_dataloader, "dataset", None)
        if scans is not None:  # loaders of one's own may have none
            check_classes(self.classes, scans, "training")

    def training_step(self, batch: ScanBatch, batch_idx: int) -> Tensor | None:
        """See :class:`Task`, on augmented scans."""
        return super().training_step(self.augmented(batch, batch_idx), batch_idx)

    def augmented(self, batch: ScanBatch, batch_idx: int) -> ScanBatch:
        """Scans mirrored, and thinned, by (seed, update, number of the batch) alone.

        Where the network sees all windows together, they are added first, which makes the rest cheap.
        """
        generator = seeded_generator(self.seed, "augmentation", self.global_step, batch_idx)
        if not self.spectral:
            batch = batch._replace(projections=batch.projections.sum(dim=2, keepdim=True))
        for axis, pixels in self.mirrors.items():
            chosen = torch.rand(len(batch.index), generator=generator) < 0.5
            batch = mirrored(batch, axis, pixels, chosen)
        return self.thinned(batch, generator)

    def thinned(self, batch: ScanBatch, generator: torch.Generator) -> ScanBatch:
        """Scans with a share of their counts, each its own."""
        if self.thinning is None:
            return batch
        low, high = (math.log(share) for share in self.thinning)
        place_between = torch.rand(len(batch.index), generator=generator, dtype=torch.float64)
        share = (low + (high - low) * place_between).exp()
        counts = batch.projections.cpu()
        # A binomial draw is dear, most counts are 0, and of a single count it is one uniform number.
        place = counts.flatten().nonzero()[:, 0]
        there, share_of = counts.flatten()[place], share.to(counts)[place // counts[0].numel()]
        drawn = (torch.rand(there.shape, generator=generator) < share_of).to(there)
        several = there > 1
        drawn[several] = torch.binomial(there[several], share_of[several], generator=generator)
        kept = torch.zeros_like(counts).flatten().index_put_((place,), drawn).reshape(counts.shape)
        duration = batch.duration_s * share.to(batch.duration_s)
        return batch._replace(projections=kept.to(batch.projections.device), duration_s=duration)

    # Areas under ROC curves, which no single sample has.

    def _collect(self, stage: str, batch: ScanBatch) -> None:
        super()._collect(stage, batch)
        self._predicted.append((self.predict_batch(batch).softmax(dim=1).cpu(), self.truth(batch).cpu()))

    def _log_collected(self, stage: str) -> None:
        super()._log_collected(stage)
        if not self._predicted:
            return
        areas = one_against_rest_auc(*(torch.cat(column) for column in zip(*self._predicted, strict=True)))
        self._predicted.clear()
        for name, area in zip(self.classes.names, areas, strict=True):
            if not bool(torch.isnan(area)):
                self.log(f"{stage}/auc_{name}", area.float())


def _stable(counts: Tensor) -> Tensor:
    """Counts [batch, pixel, window] with a noise of one size, over their mean in each scan, less 1."""
    stable = 2 * (counts + 0.375).sqrt() - 2 * math.sqrt(0.375)
    mean = stable.mean(dim=(1, 2), keepdim=True)
    return stable / torch.where(mean > 0, mean, 1.0) - 1


def check_classes(classes: ScanClasses, scans: Any, which: str) -> None:
    """Refuse scans that are all of one class; no more of them are read than show it.

    Args:
        classes: which one a scan is of.
        scans: a sequence of scans without a batch axis.
        which: what they are, for the message.

    Raises:
        UserError: they are.
    """
    found: set[int] = set()
    for number in range(len(scans)):
        scan = ScanBatch(*(column[None] for column in scans[number]))
        found.add(int(classes.of(scan)[0]))
        if len(found) > 1:
            return
    names = ", ".join(classes.names[number] for number in found)
    raise UserError(f"all {len(scans)} {which} scans are of one class ({names}); they need two or more")
