"""Segmentation of tumours and organs from counts: physics image in, classes of voxels out, with or without
an adversary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW

from data_gen.core.errors import UserError
from data_gen.forward_model.line_windows import Windows
from data_gen.forward_model.system import ImagingSystem
from data_gen.phantoms import ORGANS
from hspi_learn.losses import DiceCrossEntropy, Loss, dice_cross_entropy, multi_scale_l1
from hspi_learn.metrics import BINS_MM3, dice, lesion_scores, surface_distance_mm, uptake_error
from hspi_learn.reconstructor import ScanBatch, body_mean, nonzero
from hspi_learn.tasks.alternating import AlternatingTask, InitialFactory, check_opponent
from hspi_learn.tasks.base import Inputs, OptimizerFactory, ScheduleFactory, Watched, seeded_network
from hspi_learn.tasks.images import Images, body_of, images_of
from hspi_learn.tasks.physics_input import BackProjection
from hspi_learn.tasks.schedule import warm_up_cosine
from hspi_learn.visual.volumes import contour_figure

NetworkFactory = Callable[[int, int], nn.Module]
"""Makes a network for a number of maps and of classes, the background included."""

NETWORK_OPTIMIZER: OptimizerFactory = partial(AdamW, lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-4)
CRITIC_OPTIMIZER: OptimizerFactory = partial(Adam, lr=4e-4, betas=(0.5, 0.9))
TUMOUR = "tumour"
"""The organ whose contours are watched."""


@dataclass(frozen=True)
class Critic:
    """A critic that learns in which features predicted and true contours differ: SegAN.

    It raises the multi-scale L1 distance of its features of the image masked by prediction and by truth, and
    the network lowers it (Xue et al., Neuroinformatics 16 (2018) 383, arXiv:1706.01805).

    Args:
        network: makes the critic for a number of maps and of classes.
        weight: of the distance in the network's loss; 0 trains the control, which never asks the critic.
        from_share: share of the training after which it is let in, over an equal share.
        largest_weight: its weights are held within plus and minus this after each step of it, or the distance
            would grow without end. The authors' program has 0.05, with normalised layers; ours are not, and
            with 0.05 and a weight of 1 no tumour was found.
        optimizer: makes its optimiser.

    Raises:
        UserError: a weight is negative or infinite, ``largest_weight`` is not above 0, or the share is
            outside 0 to 1.
    """

    network: NetworkFactory
    weight: float = 0.1
    from_share: float = 0.2
    largest_weight: float = 0.02
    optimizer: OptimizerFactory = CRITIC_OPTIMIZER

    def __post_init__(self) -> None:
        check_opponent(self.weight, self.from_share)
        if not 0 < self.largest_weight < math.inf:
            raise UserError(f"largest_weight is {self.largest_weight}; it needs to be above 0")


@dataclass(frozen=True)
class SegmentationView:
    """What the losses of a segmentation are told besides prediction and batch.

    Args:
        truth: true membership of each class [batch, class, z, y, x].
        step: updates done.
    """

    truth: Tensor
    step: int


class Segmentation(AlternatingTask):
    """Tells for each voxel how likely it belongs to each of some organs, from counts.

    A prediction is [batch, class, z, y, x], a softmax: class 0 is all that is none of ``organs``, class k the
    k-th of them; a voxel outside of the body is background for sure. The network gets the physics image,
    each map divided by its mean over the body, and the density; it may be any of MONAI's or one's own. The
    true class of a voxel is the organ that fills most of it.

    Losses get the probabilities, the :class:`~hspi_learn.reconstructor.ScanBatch`, and a
    :class:`SegmentationView`. The critic's part (``critic``) is added to them.

    Args:
        system: the imaging system.
        windows_kev: rising edges of the energy windows that the counts are summed in, or "lines".
        network: makes the network for a number of maps and of classes; it returns logits.
        organs: what is contoured: names of ``data_gen.phantoms.ORGANS``, ``tumour`` among them.
        critic: the adversary and its part in the loss; None: there is none, as with weight 0.
        initial: makes the physics image's method for a forward model.
        losses: by name; None is the sum of Dice loss and cross entropy.
        optimizer: makes the network's optimiser.
        schedule: makes the learning-rate schedules; None keeps the rates.
        mirror_axes: axes (x, y, z) along which a batch is mirrored half of the time.
        largest_gradient: norm to which the network's gradient is clipped.
        accumulate_batches: batches whose gradients make one update.
        seed: of weights and mirrors.
        ema_decay: see :class:`~hspi_learn.tasks.alternating.AlternatingTask`.

    Raises:
        UserError: an organ is unknown or named twice or the tumour is missing, an axis is not x, y or z, or
            there are fewer than one batch an update.
    """

    watched: ClassVar[Watched] = Watched("val/dice_tumour", "max")

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        network: NetworkFactory,
        organs: Sequence[str] = (TUMOUR, "kidneys", "liver", "bone"),
        critic: Critic | None = None,
        initial: InitialFactory = BackProjection,
        losses: Mapping[str, Loss] | None = None,
        optimizer: OptimizerFactory = NETWORK_OPTIMIZER,
        schedule: ScheduleFactory | None = warm_up_cosine,
        mirror_axes: Sequence[str] = ("x",),
        largest_gradient: float = 1.0,
        accumulate_batches: int = 1,
        seed: int = 0,
        ema_decay: float | None = None,
    ) -> None:
        check_organs(organs)
        super().__init__(
            system,
            windows_kev,
            critic,
            initial,
            {"dice_ce": DiceCrossEntropy()} if losses is None else losses,
            optimizer,
            schedule,
            mirror_axes,
            largest_gradient,
            accumulate_batches,
            seed,
            ema_decay,
        )
        self.organs = tuple(organs)
        bins = (f"{TUMOUR}_{name}" for name, *_ in BINS_MM3)
        self.higher_is_better = frozenset({"lesions_found", *(f"dice_{of}" for of in (*organs, *bins))})
        maps, classes = len(system.groups.names), len(self.organs) + 1
        self.network = seeded_network(lambda: network(maps, classes), seed)
        self.average = self.average_of(self.network)
        self.critic: nn.Module | None = None
        if critic is not None:
            self.largest_weight = critic.largest_weight
            self.critic = seeded_network(lambda: critic.network(maps, classes), seed + 1)
        class_of = torch.zeros(len(ORGANS), dtype=torch.int64)
        for number, organ in enumerate(self.organs, start=1):
            class_of[ORGANS.index(organ)] = number
        self.class_of: Tensor
        self.register_buffer("class_of", class_of, persistent=False)

    def networks(self) -> tuple[nn.Module, nn.Module | None]:
        """The network and the critic."""
        return self.network, self.critic

    # The contract of a task.

    def predict(self, inputs: Inputs) -> Tensor:
        """Probabilities [batch, class, z, y, x] from counts."""
        context = inputs.context
        initial = self.initial.reconstruct(inputs.values, context)
        return self.segmented(initial, context.density[:, None], context.body)

    def predict_batch(self, batch: ScanBatch) -> Tensor:
        """The same from the kept physics images."""
        return self.segmented(self.physics(batch).initial, batch.density[:, None], body_of(batch))

    def segmented(self, initial: Tensor, density: Tensor, body: Tensor) -> Tensor:
        """Probabilities [batch, class, z, y, x] from a physics image [batch, map, z, y, x] in Bq a voxel."""
        scale = body_mean(initial, body)
        return _probabilities(self.predictor(initial / nonzero(scale), density), body)

    def truth(self, batch: ScanBatch) -> Tensor:
        """True membership of each class [batch, class, z, y, x], 0 or 1, in the activity's type."""
        members = functional.one_hot(self.class_of[batch.labels], len(self.organs) + 1)
        return members.movedim(-1, 1).to(batch.activity.dtype)

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """Dice loss and cross entropy, see :func:`~hspi_learn.losses.dice_cross_entropy`."""
        return dice_cross_entropy(prediction, self.truth(batch))

    def loss_view(self, batch: ScanBatch, inputs: Inputs) -> SegmentationView:  # noqa: ARG002
        """The true classes."""
        return SegmentationView(self.truth(batch), int(self.updates))

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """Figures of contours in which each voxel belongs to its most likely class.

        ``dice_ORGAN``: 0 where an organ is missed. Of the tumours of a scan: ``surface_distance_tumour_mm``
        (the diagonal of the grid where all are missed) and ``uptake_error_tumour`` (|A(P) - A(T)| / A(T) of
        the true activity, maps added, in predicted and true contour), all together;
        ``dice_tumour_0_30mm3``, ``dice_tumour_30_60mm3`` and ``dice_tumour_60mm3`` (by true volume),
        ``lesions_found`` (share) and ``false_lesions`` (number), one by one: see
        :func:`~hspi_learn.metrics.lesion_scores`. NaN where a scan has no such organ or tumour.
        """
        predicted, true = self.contours(prediction.argmax(dim=1)), self.contours(self.class_of[batch.labels])
        spacing = self.model.grid.spacing_mm
        overlaps = dice(predicted, true)
        tumour = self.organs.index(TUMOUR)
        both = predicted[:, tumour], true[:, tumour]
        distance = surface_distance_mm(both[0][:, None], both[1][:, None], spacing)
        return {
            **{f"dice_{organ}": overlaps[:, number] for number, organ in enumerate(self.organs)},
            "surface_distance_tumour_mm": distance[:, 0],
            "uptake_error_tumour": uptake_error(*both, batch.activity),
            **{
                name.replace("dice_", f"dice_{TUMOUR}_"): values
                for name, values in lesion_scores(*both, spacing).items()
            },
        }

    def contours(self, classes: Tensor) -> Tensor:
        """Mask of each organ [batch, organ, z, y, x], bool, from the class of each voxel [batch, z, y, x]."""
        numbers = torch.arange(1, len(self.organs) + 1, device=classes.device)
        return classes[:, None] == numbers[:, None, None, None]

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        """True and predicted contours of the first scan over its physics image, all maps added, in Bq/mL."""
        scan = ScanBatch(*(column[:1] for column in batch))
        image = self.physics(scan).initial[0].sum(dim=0) / self.model.grid.voxel_volume_ml
        contours = {
            "truth": self.contours(self.class_of[scan.labels]),
            "prediction": self.contours(self.predict_batch(scan).argmax(dim=1)),
        }
        masks = {
            name: dict(zip(self.organs, found[0].cpu().numpy(), strict=True))
            for name, found in contours.items()
        }
        title = f"scan {int(scan.index[0])}"
        yield (
            "contours",
            contour_figure(image.cpu().numpy(), masks, self.model.grid.spacing_mm, "Bq/mL", title=title),
        )

    # Training.

    def training_step(self, batch: ScanBatch, batch_idx: int) -> None:
        """One update of the network, and before it one of the critic if it has a weight."""
        done = int(self.updates)
        images = images_of(batch, self.training_physics(batch), self.mirrors(done))
        seen = _probabilities(self.network(images.initial, images.density), images.body)
        view = SegmentationView(self.truth(batch), done)
        losses = self.losses.computed(seen.flip(images.axes), batch, view, done)
        total = self.losses.weighted_sum(losses, seen)
        logged = dict(losses)
        weight = self.opponent_weight(done)
        if self.critic is not None and weight > 0:
            truth = view.truth.flip(images.axes)
            self._train_critic(self.critic, images, seen.detach(), truth, batch_idx)
            self.critic.requires_grad_(False)  # the network's loss leaves no gradient in it
            logged["critic"] = _distance(self.critic, images, seen, truth)
            self.critic.requires_grad_(True)
            total = total + weight * logged["critic"]
        logged |= self.step_network(total, batch_idx)
        self.log_training(logged, len(seen))

    def _train_critic(
        self, critic: nn.Module, images: Images, predicted: Tensor, true: Tensor, batch_idx: int
    ) -> None:
        """A step of the critic up its distance, and its weights held within their limit."""
        self.step_opponent(-_distance(critic, images, predicted, true), batch_idx)
        if self.is_last(batch_idx):
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-self.largest_weight, self.largest_weight)


def _distance(critic: nn.Module, images: Images, predicted: Tensor, true: Tensor) -> Tensor:
    """How far apart a critic's features of two masks [batch, class, z, y, x] of the same images are."""
    features = [critic(mask, images.initial, images.density) for mask in (predicted, true)]
    return multi_scale_l1(*features)


def check_organs(organs: Sequence[str]) -> None:
    """Refuse organs that cannot be contoured.

    Raises:
        UserError: one is unknown or named twice, or there is no tumour.
    """
    for organ in organs:
        if organ not in ORGANS[1:]:
            raise UserError(f"organs holds {organ!r}; it needs to be some of {', '.join(ORGANS[1:])}")
    if len(set(organs)) < len(organs):
        raise UserError(f"organs is {list(organs)}; it needs each organ once")
    if TUMOUR not in organs:
        raise UserError(f"organs is {list(organs)}; it needs {TUMOUR} among them, whose Dice is watched")


def _probabilities(logits: Tensor, body: Tensor) -> Tensor:
    """Softmax over classes [batch, class, z, y, x]; outside of the body it is the background for sure."""
    background = torch.zeros_like(logits)
    background[:, 0] = 1
    return torch.where(body, logits.softmax(dim=1), background)
