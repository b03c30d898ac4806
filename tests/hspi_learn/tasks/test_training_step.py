"""One training step against numbers computed by hand: losses, their weights and rhythm, mirrors, the update.

Truth: the formulas of docs and papers in numpy, with a generator of one weight, a discriminator of one weight
and plain gradient descent, so that a step can be written down. Tolerance 1e-3 of the change of a weight.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.losses import CountMismatch, PoissonDeviance, RelativeError, WeightedLosses
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Adversary, GanReconstruction
from hspi_learn.tasks.physics_input import PhysicsInput
from hspi_learn.tasks.schedule import mirrored_axes

Array = NDArray[np.float64]
SHAPE = (4, 5, 6)
FIELD = 0.5 + torch.arange(120.0).reshape(SHAPE) / 60
"""What the generator multiplies by: without symmetry, so that a mirror too few or too many shows."""
P, Q, RATE, RATE_Q = 0.8, 0.05, 0.05, 0.01
WEIGHTS = {"voxel": 1.0, "data": 4.0, "count": 4.0, "adversarial": 5.0}
EVERY = {"voxel": 1, "data": 2, "count": 3, "adversarial": 1}


class Scaled(nn.Module):
    """One weight times a field times the physics image."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(P))

    def forward(self, initial: Tensor, density: Tensor) -> Tensor:
        return self.p * FIELD * initial


class MeanScore(nn.Module):
    """One weight times the mean of each scan."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.tensor(Q))

    def forward(self, estimate: Tensor, initial: Tensor, density: Tensor) -> Tensor:
        return self.q * estimate.mean(dim=(1, 2, 3, 4))


@pytest.fixture(scope="module")
def batch(model32: HyperspectralForwardModel) -> ScanBatch:
    """Two scans; the body leaves out the rim of the grid."""
    generator = torch.Generator().manual_seed(1)
    density = torch.zeros(2, *SHAPE)
    density[:, 1:-1, 1:-1, 1:-1] = 1.0
    activity = 10 * density[:, None] * (0.2 + torch.rand(2, 2, *SHAPE, generator=generator))
    duration = torch.full((2,), 200.0)
    expected = model32.expected_counts(activity, model32.attenuation(density), duration)
    counts = torch.poisson(expected, generator=generator)
    return ScanBatch(counts, duration, density, activity, density.long(), torch.arange(2))


@pytest.fixture(scope="module")
def physics(batch: ScanBatch) -> PhysicsInput:
    """A physics image, and a mask that leaves out every third voxel of the body."""
    generator = torch.Generator().manual_seed(2)
    image = 8 * batch.density[:, None] * (0.2 + torch.rand(2, 2, *SHAPE, generator=generator))
    seen = (torch.arange(120).reshape(SHAPE) % 3 > 0) & (batch.density[:, None] > 0)
    return PhysicsInput(image, seen.expand_as(image).contiguous())


def _seed(axes: tuple[int, ...]) -> int:
    """A seed whose first step mirrors along these axes and no other."""
    return next(seed for seed in range(100) if mirrored_axes((-3, -2, -1), seed, 0) == axes)


def turned(columns: Any) -> Any:
    """A batch or a physics input with its scans in the other order."""
    return type(columns)(*(column.flip(0) for column in columns))


def _stepped(
    model: HyperspectralForwardModel,
    batch: ScanBatch,
    physics: PhysicsInput,
    axes: tuple[int, ...],
    folder: Path,
    losses: tuple[str, ...] = tuple(WEIGHTS),
    largest_gradient: float = 1e9,
    both_ways: bool = False,
) -> tuple[GanReconstruction, dict[str, float]]:
    """The task after one step on the batch, and what it logged; ``both_ways`` adds a second batch to the
    step, of the same scans in the other order."""
    made = {"voxel": RelativeError, "data": PoissonDeviance, "count": CountMismatch}
    task = GanReconstruction(
        SimpleNamespace(groups=model.groups, forward_model=lambda windows: model),  # type: ignore[arg-type]
        [60.0, 150.0, 300.0, 500.0],
        generator=Scaled,
        adversary=Adversary(
            MeanScore,
            WEIGHTS["adversarial"] * ("adversarial" in losses),
            from_share=0.0,
            optimizer=partial(torch.optim.SGD, lr=RATE_Q),
        ),
        losses={n: kind(WEIGHTS[n] if n in losses else 0.0, every=EVERY[n]) for n, kind in made.items()}
        | {"kept": RelativeError(1e-12)},
        optimizer=partial(torch.optim.SGD, lr=RATE),
        schedule=None,
        mirror_axes=("z", "y", "x"),
        largest_gradient=largest_gradient,
        accumulate_batches=1 + both_ways,
        seed=_seed(axes),
    )
    task.physics_inputs = lambda of: (  # type: ignore[assignment]
        physics if torch.equal(of.projections, batch.projections) else turned(physics)
    )
    batches = [batch, turned(batch)] if both_ways else [batch]
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(task, DataLoader(batches, batch_size=None))
    return task, {name: float(value) for name, value in trainer.callback_metrics.items()}


class ByHand:
    """The losses of the step as functions of the generator's weight, in numpy."""

    def __init__(
        self, model: HyperspectralForwardModel, batch: ScanBatch, physics: PhysicsInput, axes: tuple[int, ...]
    ) -> None:
        body = (batch.density[:, None].double() > 0).numpy() * np.ones((2, 2, 1, 1, 1))
        image, truth = physics.initial.double().numpy(), batch.activity.double().numpy()
        scale = (image * body).sum((2, 3, 4), keepdims=True) / body.sum((2, 3, 4), keepdims=True)
        # The network sees mirrored images; what it says is mirrored back before it meets truth and counts.
        self.seen = np.flip(body * image / scale, axes) * FIELD.double().numpy()
        self.truth_seen = np.flip(truth / scale, axes)
        self.activity = np.flip(self.seen, axes) * scale
        self.truth, self.weight = truth, body * np.where(physics.mask.numpy(), 1.0, 0.1)
        attenuation = model.attenuation(batch.density[:1])
        made = [
            model.expected_counts(
                torch.from_numpy(k * self.activity[:1]).float(), attenuation, batch.duration_s[:1]
            )
            for k in (0.0, 1.0)
        ]
        self.background = made[0].double().numpy()
        self.signal = made[1].double().numpy() - self.background
        self.counts = batch.projections[:1].double().numpy()

    def voxel(self, p: float) -> float:
        """||x - t|| / ||t|| with weights 1 and, where hardly anything is seen, 0.1."""
        error = (self.weight * (p * self.activity - self.truth) ** 2).sum((2, 3, 4))
        return float(np.sqrt(error / (self.weight * self.truth**2).sum((2, 3, 4))).mean())

    def data(self, p: float) -> float:
        """Poisson deviance per count of the first scan."""
        expected = self.background + p * self.signal
        assert (expected > 1e-3 * expected.mean()).all()  # nothing is held
        logs = self.counts * np.log(np.maximum(self.counts, 1e-300) / expected)
        return float(2 * (expected - self.counts + logs).sum() / self.counts.sum())

    def count(self, p: float) -> float:
        """Squared errors of the windows' totals over N + 1, over all counts of the first scan."""
        expected, counts = (self.background + p * self.signal).sum(1), self.counts.sum(1)
        return float(((expected - counts) ** 2 / (counts + 1)).sum() / counts.sum())

    def discriminator_weight(self) -> float:
        """After its step: it lowers 0.5 ((q real - 1)^2 + (q fake)^2), means over scans."""
        real, fake = (self.truth_seen.mean((1, 2, 3, 4)), P * self.seen.mean((1, 2, 3, 4)))
        return Q - RATE_Q * float(((Q * real - 1) * real).mean() + (Q * fake * fake).mean())

    def adversarial(self, p: float) -> float:
        """(score - 1)^2: the generator wants the score that the truth should have."""
        scores = self.discriminator_weight() * p * self.seen.mean((1, 2, 3, 4))
        return float(((scores - 1) ** 2).mean())

    def slope(self, name: str, p: float = P, h: float = 1e-5) -> float:
        """Derivative in the generator's weight of a loss with its weight and rhythm."""
        loss = getattr(self, name)
        return WEIGHTS[name] * EVERY[name] * (loss(p + h) - loss(p - h)) / (2 * h)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:.*no `val_dataloader`"
)
@pytest.mark.parametrize("axes", [(), (-1,), (-3, -2, -1)])
class TestOneStep:
    def test_every_loss_is_the_formula(
        self,
        axes: tuple[int, ...],
        model32: HyperspectralForwardModel,
        batch: ScanBatch,
        physics: PhysicsInput,
        tmp_path: Path,
    ) -> None:
        """What is logged, to 1e-5: values without their weights."""
        hand = ByHand(model32, batch, physics, axes)
        _, logged = _stepped(model32, batch, physics, axes, tmp_path)
        for name in WEIGHTS:
            assert logged[f"train/{name}"] == pytest.approx(getattr(hand, name)(P), rel=1e-4)

    def test_the_weight_moves_down_the_weighted_sum(
        self,
        axes: tuple[int, ...],
        model32: HyperspectralForwardModel,
        batch: ScanBatch,
        physics: PhysicsInput,
        tmp_path: Path,
    ) -> None:
        """By the rate times the sum of all slopes, each loss due with its weight times its rhythm; and each
        loss alone by its own."""
        hand = ByHand(model32, batch, physics, axes)
        slopes = {name: hand.slope(name) for name in WEIGHTS}
        assert min(abs(slope) for slope in slopes.values()) > 0.02 * max(
            abs(slope) for slope in slopes.values()
        )
        for names in (tuple(WEIGHTS), *((name,) for name in WEIGHTS)):
            task, _ = _stepped(model32, batch, physics, axes, tmp_path, names)
            moved = float(task.generator.p.detach().double()) - float(torch.tensor(P).double())
            wanted = -RATE * sum(slopes[name] for name in names)
            assert moved == pytest.approx(wanted, rel=1e-3, abs=1e-7), names
            moved_q = float(task.discriminator.q.detach().double()) - float(torch.tensor(Q).double())
            wanted_q = hand.discriminator_weight() - Q if "adversarial" in names else 0.0
            assert moved_q == pytest.approx(wanted_q, rel=1e-3, abs=1e-8), names


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:.*no `val_dataloader`"
)
def test_a_large_gradient_is_clipped(
    model32: HyperspectralForwardModel, batch: ScanBatch, physics: PhysicsInput, tmp_path: Path
) -> None:
    """The whole gradient is the sum of the slopes by hand, and is logged; a step of no more than half of it
    moves the weight half as far, and a limit above it changes nothing."""
    hand = ByHand(model32, batch, physics, ())
    slope = sum(hand.slope(name) for name in WEIGHTS)
    for limit, share in ((0.5 * abs(slope), 0.5), (2 * abs(slope), 1.0)):
        task, logged = _stepped(model32, batch, physics, (), tmp_path, largest_gradient=limit)
        assert logged["train/gradient_norm"] == pytest.approx(abs(slope), rel=1e-3)
        moved = float(task.generator.p.detach().double()) - float(torch.tensor(P).double())
        assert moved == pytest.approx(-RATE * share * slope, rel=1e-3)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:.*no `val_dataloader`"
)
def test_a_step_of_two_batches_goes_down_their_mean(
    model32: HyperspectralForwardModel, batch: ScanBatch, physics: PhysicsInput, tmp_path: Path
) -> None:
    """By the rate times the mean of the slopes: losses of counts are of the first scan, which differs."""
    names = ("voxel", "data", "count")
    one, other = (
        sum(ByHand(model32, scans, image, ()).slope(name) for name in names)
        for scans, image in ((batch, physics), (turned(batch), turned(physics)))
    )
    assert abs(one - other) > 0.01 * abs(one)
    task, _ = _stepped(model32, batch, physics, (), tmp_path, names, both_ways=True)
    moved = float(task.generator.p.detach().double()) - float(torch.tensor(P).double())
    assert moved == pytest.approx(-RATE * (one + other) / 2, rel=1e-3)
    assert int(task.updates) == 1


def test_losses_come_in_their_rhythm() -> None:
    """Weights 2, 3 every 2nd update, 5 every 3rd from the 4th on; each value is 1: sums by hand."""

    def one(prediction: Any, batch: Any) -> Tensor:
        return prediction.sum() * 0 + 1

    from hspi_learn.losses import FunctionLoss

    losses = WeightedLosses(
        {
            "a": FunctionLoss(one, 2.0),
            "b": FunctionLoss(one, 3.0, every=2),
            "c": FunctionLoss(one, 5.0, from_step=4, every=3),
            "off": FunctionLoss(one, 0.0),
        },
        own=one,
    )
    prediction = torch.zeros(1)
    for step, total in {0: 2 + 6, 1: 2, 2: 8, 3: 2, 4: 8, 5: 2, 6: 2 + 6 + 15, 9: 2 + 15, 12: 23}.items():
        found = losses.computed(prediction, None, None, step)
        assert float(losses.weighted_sum(found, prediction)) == total, step
        assert "off" not in found


def test_scans_take_turns_in_losses_of_counts(model32: HyperspectralForwardModel, batch: ScanBatch) -> None:
    """With every=3 the evaluations at updates 0, 3, 6, ... ask for scans 0, 1, 0, ..."""
    asked = []

    class View:
        step = 0

        def expected_counts(self, activity: Tensor, batch: ScanBatch, scan: int) -> Tensor:
            asked.append(scan)
            return batch.projections[scan : scan + 1] + 1

    for View.step in range(0, 18, 3):
        PoissonDeviance(every=3)(batch.activity, batch, View())
    assert asked == [0, 1, 0, 1, 0, 1]
