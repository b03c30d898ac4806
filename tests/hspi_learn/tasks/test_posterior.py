"""Samples of a posterior: the loss against its closed forms, and what the noise does."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, scans_of, system_of, trainer_of
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.losses import SampledL1, sampled_l1
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Adversary, PosteriorReconstruction


def task_of(model: HyperspectralForwardModel, **changes: Any) -> PosteriorReconstruction:
    settings: dict[str, Any] = {
        "generator": partial(CorrectionUNet, channels=(8, 8), strides=(1,), noise_channels=1),
        "initial": partial(Osem, iterations=1, subsets=2),
        **changes,
    }
    task = PosteriorReconstruction(system_of(model), WINDOWS_KEV, **settings)
    if hasattr(task.generator, "head"):
        torch.nn.init.normal_(task.generator.head.weight, std=0.2, generator=torch.Generator().manual_seed(7))
    return task.eval()


class TestSampledL1:
    def test_two_samples_around_the_truth(self) -> None:
        """Samples 1 and 3 of a truth of 2: the mean is right, and the reward is 1 / sqrt(3) by hand."""
        samples = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1, 1, 1)
        truth = torch.full((1, 1, 1, 1, 1), 2.0)
        found = sampled_l1(samples, truth, torch.ones_like(truth))
        torch.testing.assert_close(found, torch.tensor([-1 / math.sqrt(3)]))

    @pytest.mark.parametrize("number", [2, 4])
    @pytest.mark.parametrize("reward", [0.7, 1.0])
    def test_least_where_samples_are_as_wide_as_the_posterior(self, number: int, reward: float) -> None:
        """A normal posterior of SD 3, 4e5 draws: the derivative by the samples' width s is that of

            sqrt(2 / pi) (sqrt(9 + s^2 / P) - reward s / sqrt(P (P + 1)))

        (a P-sample mean's error, and SD = s), to 2e-3; with reward 1 it is 0 at s = 3, and nowhere else."""
        generator = torch.Generator().manual_seed(number)
        draws = torch.randn(number, 400_000, 1, 1, 1, 1, generator=generator).double()
        truth = 3.0 * torch.randn(400_000, 1, 1, 1, 1, generator=generator).double()
        for width in (1.5, 3.0, 6.0):
            s = torch.tensor(width, dtype=torch.float64, requires_grad=True)
            sampled_l1(s * draws, truth, torch.ones_like(truth), reward).mean().backward()
            slope = width / number / math.sqrt(9 + width**2 / number)
            wanted = math.sqrt(2 / math.pi) * (slope - reward / math.sqrt(number * (number + 1)))
            assert float(s.grad or 0.0) == pytest.approx(wanted, abs=2e-3)
            if reward == 1 and width == 3:
                assert wanted == pytest.approx(0.0, abs=1e-12)

    def test_no_reward_without_end(self) -> None:
        with pytest.raises(UserError, match=r"reward is 2.0.*below 1\.73"):
            SampledL1(reward=2.0)


class TestSamples:
    def test_noise_makes_samples_and_the_seed_the_noise(self, model32: HyperspectralForwardModel) -> None:
        """Samples differ; the same seed gives the same ones, whatever their number; another seed others."""
        task, scans = task_of(model32), scans_of(model32, torch.float32)
        inputs = task.inputs(scans)
        with torch.no_grad():
            three, two = (task.sampled(inputs.values, inputs.context, n) for n in (3, 2))
            other = task.sampled(inputs.values, inputs.context, 2, seed=1)
        assert torch.equal(three[:2], two)
        assert not torch.equal(two[0], two[1])
        assert not torch.equal(two, other)

    def test_the_prediction_is_their_mean(self, model32: HyperspectralForwardModel) -> None:
        """Of the samples of seed 0, to rounding."""
        task, scans = task_of(model32, predicted_samples=5), scans_of(model32, torch.float32)
        inputs = task.inputs(scans)
        with torch.no_grad():
            samples = task.sampled(inputs.values, inputs.context, 5)
            torch.testing.assert_close(task.predict(inputs), samples.mean(dim=0))

    @pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
    def test_the_ratio_of_gradients_is_of_the_samples(
        self, model32: HyperspectralForwardModel, tmp_path: Path
    ) -> None:
        """An adversary weighted by the gradients at single samples: three updates."""
        scans = scans_of(model32, torch.float32)
        rows = [ScanBatch(*(column[i : i + 2] for column in scans)) for i in (0, 2, 4)]
        discriminator = partial(PatchDiscriminator, channels=4, layers=1)
        adversary = Adversary(discriminator, weight=1.0, gradient_ratio=0.3, from_share=0.0)
        task, trainer = task_of(model32, adversary=adversary), trainer_of(tmp_path, [], max_steps=3)
        trainer.fit(task.train(), *(DataLoader(rows, batch_size=None) for _ in range(2)))
        assert 0 < float(trainer.callback_metrics["train/adversary_weight"]) < math.inf

    def test_wrong_settings_are_told(self, model32: HyperspectralForwardModel) -> None:
        with pytest.raises(UserError, match="trained_samples is 1"):
            task_of(model32, trained_samples=1)
        with pytest.raises(UserError, match="noise_channels is 0"):
            task_of(model32, generator=partial(CorrectionUNet, channels=(8, 8), strides=(1,)))
