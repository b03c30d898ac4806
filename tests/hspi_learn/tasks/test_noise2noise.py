"""Learning without truth: halves of counts, and that no truth has a say in the weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, same, scans_of, system_of, trainer_of
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.losses import poisson_deviance
from hspi_learn.networks import CorrectionUNet, PatchDiscriminator
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Adversary, Noise2NoiseReconstruction


def task_of(model: HyperspectralForwardModel, **changes: Any) -> Noise2NoiseReconstruction:
    settings: dict[str, Any] = {
        "generator": partial(CorrectionUNet, channels=(8, 8), strides=(1,), residual_units=1),
        "initial": partial(Osem, iterations=1, subsets=2),
        **changes,
    }
    return Noise2NoiseReconstruction(system_of(model), WINDOWS_KEV, **settings)


class TestHalves:
    def test_they_are_whole_and_the_same_each_time(self, model32: HyperspectralForwardModel) -> None:
        """Both halves are counts, add up to all, take half the time each, and depend on the scan alone."""
        task, scans = task_of(model32), scans_of(model32, torch.float32)
        shown, other = task.shown(scans), task.held_out(scans)
        assert torch.equal(shown.projections + other.projections, scans.projections)
        assert torch.equal(shown.projections, shown.projections.round())
        assert torch.equal(shown.duration_s + other.duration_s, scans.duration_s)
        second = ScanBatch(*(column[1:2] for column in scans))
        assert torch.equal(task.shown(second).projections, shown.projections[1:2])

    def test_they_are_independent(self, model32: HyperspectralForwardModel) -> None:
        """Poisson counts of mean 4 in 1e5 bins: means 2 and variances 2 (four SD of each), covariance 0.

        The covariance of n / 2 and n / 2, which a split without chance would give, is 1."""
        task, scans = task_of(model32), scans_of(model32, torch.float32)
        counts = torch.poisson(torch.full((1, 50_000, 2), 4.0), generator=torch.Generator().manual_seed(1))
        batch = ScanBatch(*(column[:1] for column in scans))._replace(projections=counts)
        halves = [task.shown(batch).projections.flatten(), task.held_out(batch).projections.flatten()]
        covariance = torch.cov(torch.stack(halves))
        size = counts.numel() ** 0.5
        assert halves[0].mean().item() == pytest.approx(2.0, abs=4 * 2**0.5 / size)
        assert torch.diagonal(covariance).tolist() == pytest.approx([2.0, 2.0], abs=4 * 10**0.5 / size)
        assert float(covariance[0, 1]) == pytest.approx(0.0, abs=4 * 2.0 / size)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
class TestTraining:
    def test_no_truth_has_a_say(self, model32: HyperspectralForwardModel, tmp_path: Path) -> None:
        """Another activity and other labels in the batches: weights and watched metric are the same bits."""
        scans = scans_of(model32, torch.float32)
        other = scans._replace(activity=7.0 * scans.activity.flip(0), labels=scans.labels.flip(0))
        found = []
        for kind in (scans, other):
            task, trainer = task_of(model32), trainer_of(tmp_path, [], max_steps=6)
            rows = [ScanBatch(*(column[i : i + 2] for column in kind)) for i in (0, 2, 4)]
            torch.manual_seed(0)
            trainer.fit(task, *(DataLoader(rows, batch_size=None) for _ in range(2)))
            found.append((task.state_dict(), float(trainer.callback_metrics["val/deviance"])))
        assert same(found[0][0], found[1][0])
        assert found[0][1] == found[1][1]

    def test_lowers_the_deviance_of_the_held_out_halves(
        self, model32: HyperspectralForwardModel, tmp_path: Path
    ) -> None:
        """Of the scans that are trained on, by 1 % in sixty updates; what they may fall to is noise."""
        scans = scans_of(model32, torch.float32)
        rows = [ScanBatch(*(column[i : i + 2] for column in scans)) for i in (0, 2, 4)]
        task = task_of(model32, optimizer=partial(torch.optim.AdamW, lr=5e-3))
        with torch.no_grad():
            before = task.scores(task.predict_batch(scans), scans)
        trainer_of(tmp_path, [], max_steps=60).fit(
            task, *(DataLoader(rows, batch_size=None) for _ in range(2))
        )
        with torch.no_grad():
            after = task.scores(task.predict_batch(scans), scans)
        assert float(after["deviance"].mean()) < 0.99 * float(before["deviance"].mean())


def test_the_watched_deviance_is_of_the_other_half(model32: HyperspectralForwardModel) -> None:
    """By hand: the shown half reconstructed, projected, and held against the other half, scan by scan."""
    task, scans = task_of(model32), scans_of(model32, torch.float32)
    with torch.no_grad():
        found = task.scores(task.predict_batch(scans), scans)["deviance"]
        shown, other = task.shown(scans), task.held_out(scans)
        estimate = task.predict(task.inputs(shown))
        expected = model32.expected_counts(estimate, model32.attenuation(scans.density), other.duration_s)
    pairs = zip(expected, other.projections, strict=True)
    wanted = [float(poisson_deviance(mean[None], counts[None])) for mean, counts in pairs]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


def test_an_adversary_is_refused(model32: HyperspectralForwardModel) -> None:
    adversary = Adversary(partial(PatchDiscriminator, channels=4, layers=1), weight=0.1)
    with pytest.raises(UserError, match="adversary=none"):
        task_of(model32, adversary=adversary)
