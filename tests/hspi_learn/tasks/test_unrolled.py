"""Unrolled reconstruction: stages trained one by one, on kept images that are those of the whole chain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, scans_of, system_of, trainer_of
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.networks import CorrectionUNet, UnrolledEm
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import UnrolledReconstruction
from hspi_learn.tasks.images import images_of
from hspi_learn.tasks.physics_input import PhysicsInputs
from hspi_learn.tasks.unrolled import EarlierStages

STAGE = partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1)


def task_of(model: HyperspectralForwardModel, **changes: Any) -> UnrolledReconstruction:
    settings: dict[str, Any] = {
        "generator": partial(UnrolledEm, stages=2, stage=STAGE),
        "em": partial(Osem, iterations=1, subsets=1),
        "initial": partial(Osem, iterations=1, subsets=2),
        **changes,
    }
    return UnrolledReconstruction(system_of(model), WINDOWS_KEV, **settings)


class After(torch.nn.Module):
    """A stage that takes the image after EM as it is."""

    def __init__(self, maps: int, *, further_images: int) -> None:
        super().__init__()

    def forward(self, image: Tensor, density: Tensor, *further: Tensor) -> Tensor:
        return further[0] if further else image


class Watching(Callback):
    """Notes, after each update, weights, rate, and whether a prediction by stages is that of all of them."""

    def __init__(self, scan: ScanBatch) -> None:
        self.scan = scan
        self.weights: list[list[Tensor]] = []
        self.rates: list[float] = []
        self.apart: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, task: Any, *_: Any) -> None:
        stages = task.generator.stages
        self.weights.append([torch.cat([p.detach().flatten() for p in s.parameters()]) for s in stages])
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        with torch.no_grad():
            found = task.predict_batch(self.scan)
            whole = task.predict(task.inputs(self.scan))
        self.apart.append(float((found - whole).abs().max() / whole.max()))


@pytest.fixture
def watched(model32: HyperspectralForwardModel, tmp_path: Path) -> Watching:
    """Nine updates: three of each stage and three of both."""
    scans = scans_of(model32, torch.float32)
    rows = [ScanBatch(*(column[i : i + 2] for column in scans)) for i in (0, 2, 4)]
    watching = Watching(rows[0])
    task = task_of(model32, together_share=1 / 3, mirror_axes=("x", "y", "z"))
    loaders = (DataLoader(rows, batch_size=None) for _ in range(2))
    trainer_of(tmp_path, [watching], max_steps=9).fit(task, *loaders)
    return watching


def moved(before: Tensor, after: Tensor) -> bool:
    return not torch.equal(before, after)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
class TestStages:
    def test_one_network_after_another_and_then_both(self, watched: Watching) -> None:
        """Which network an update moves: 0 0 0, 1 1 1, both."""
        pairs = list(zip(watched.weights, watched.weights[1:], strict=False))
        found = [[moved(b, a) for b, a in zip(*pair, strict=True)] for pair in pairs]
        assert found == [[True, False]] * 2 + [[False, True]] * 3 + [[True, True]] * 3

    def test_each_stage_has_a_schedule_of_its_own(self, watched: Watching) -> None:
        """The rates of three updates come thrice; they fall within each."""
        first, second, third = watched.rates[:3], watched.rates[3:6], watched.rates[6:]
        assert second[:2] == pytest.approx(first[:2])
        assert third[:2] == pytest.approx(first[:2])
        assert first[0] > first[1]

    def test_kept_images_are_those_of_the_chain(self, watched: Watching) -> None:
        """While stage 1 is trained its predictions, from kept images, are those from counts, to 1e-5."""
        assert max(watched.apart[3:]) < 1e-5

    def test_untrained_stages_hand_on_the_image(self, model32: HyperspectralForwardModel) -> None:
        """Weights of 0 in the last layers: one stage or three give the same, within the softplus's rounding
        of 0.08 of the mean at zero (each stage adds one)."""
        scans = scans_of(model32, torch.float32)
        one, three = (task_of(model32, generator=partial(UnrolledEm, stages=n, stage=STAGE)) for n in (1, 3))
        with torch.no_grad():
            first, last = (task.predict(task.inputs(scans)) for task in (one, three))
        mean = first.mean(dim=(2, 3, 4), keepdim=True)
        assert float(((first - last).abs() / mean).max()) < 0.3
        hot = first > 4 * mean
        torch.testing.assert_close(last[hot], first[hot], rtol=2e-3, atol=0)

    def test_the_counts_are_asked_again(self, model32: HyperspectralForwardModel) -> None:
        """A second stage that takes the image after EM as it is gives OSEM's next iterations (1e-3)."""
        scans = scans_of(model32, torch.float32)

        task = task_of(
            model32,
            generator=partial(UnrolledEm, stages=2, stage=After),
            em=partial(Osem, iterations=2, subsets=2),
            initial=partial(Osem, iterations=3, subsets=2),
        )
        inputs = task.inputs(scans)
        found = task.predict(inputs)
        wanted = Osem(model32, iterations=5, subsets=2).reconstruct(inputs.values, inputs.context)
        high = wanted > 0.01 * wanted.mean()
        torch.testing.assert_close(found[high], wanted[high], rtol=1e-3, atol=0)


@pytest.mark.parametrize("together", [False, True])
def test_mirrored_batches_meet_their_own_counts(model32: HyperspectralForwardModel, together: bool) -> None:
    """EM of images that are mirrored for training, kept or computed, is EM of the scan: to 1e-5."""
    scans = scans_of(model32, torch.float32)
    task = task_of(model32, generator=partial(UnrolledEm, stages=2, stage=After))
    kept = PhysicsInputs(task.system, task.model, EarlierStages(task, 1))
    task._begun = (2, None) if together else (1, kept)
    wanted = task.predict(task.inputs(scans))
    images = images_of(scans, task.physics(scans), (-3, -1))
    if together:
        found = images.activity(task.estimated(images, scans))
    else:
        found = images.activity(task._by_stage(task.generator, images, scans, once=False))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_wrong_shares_and_stages_are_told(model32: HyperspectralForwardModel) -> None:
    with pytest.raises(UserError, match=r"together_share is 1\.5"):
        task_of(model32, together_share=1.5)
    with pytest.raises(UserError, match=r"generator\.stages is 0"):
        task_of(model32, generator=partial(UnrolledEm, stages=0))
