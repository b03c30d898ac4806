"""Denoising on a small dense model: splitting of counts, learning, its control, scores, settings."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, Scans, same, scans_of, system_of, trainer_of
from omegaconf import OmegaConf

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.losses import ProjectionError, TargetDeviance
from hspi_learn.networks import PatchDiscriminator, ProjectionUNet
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Adversary, Denoising
from hspi_learn.tasks.denoising import DenoisingView, Parts

quiet = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:.*no `val_dataloader`",
    "ignore:.*module.s. in eval mode at the start of training",
)


def task_of(model: HyperspectralForwardModel, weight: float | None = None, **changes: Any) -> Denoising:
    """A small task; ``weight`` is the adversary's, None leaves it out."""
    panels = partial(PatchDiscriminator, channels=4, layers=1, spatial_dims=2, others=0)
    settings: dict[str, Any] = {
        "network": partial(ProjectionUNet, channels=(8, 8), strides=(2,), residual_units=1),
        "adversary": None if weight is None else Adversary(panels, weight, from_share=0.0),
        "mirror_axes": (),
        "components": 4,
        **changes,
    }
    return Denoising(system_of(model), WINDOWS_KEV, **settings)


@pytest.fixture(scope="module")
def scans(model32: HyperspectralForwardModel) -> ScanBatch:
    return scans_of(model32, torch.float32)


def fitted(task: Denoising, scans: ScanBatch, folder: Path, steps: int) -> Denoising:
    torch.manual_seed(0)
    trainer_of(folder, [], max_steps=steps).fit(task, datamodule=Scans(scans))
    return task


class TestSplit:
    def test_parts_of_poisson_counts_are_independent_poisson(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """The closed form: of counts of mean 12, a share q / 2 = 0.3 has mean and variance 3.6, all others
        8.4, and their covariance is 0. 600 draws of 144 bins: 3 % of the means, 4 % of the variances, and a
        correlation under 0.015, five standard deviations."""
        task = task_of(model32, target="split", thinning=(0.6, 0.6))
        generator = torch.Generator().manual_seed(0)
        shown, others = [], []
        for draw in range(600):
            counts = torch.poisson(torch.full_like(scans.projections[:1], 12.0), generator=generator)
            one = ScanBatch(*(column[:1] for column in scans))._replace(projections=counts)
            parts = task.drawn(one, draw)
            assert torch.equal(parts.shown + parts.target, counts)
            assert float(parts.shown_share) == pytest.approx(0.3)
            assert float(parts.target_share) == pytest.approx(0.7)
            shown.append(parts.shown.flatten())
            others.append(parts.target.flatten())
        first, second = (torch.stack(part).double().flatten() for part in (shown, others))
        for part, mean in ((first, 3.6), (second, 8.4)):
            assert float(part.mean()) == pytest.approx(mean, rel=0.03)
            assert float(part.var()) == pytest.approx(mean, rel=0.04)
        assert abs(float(torch.corrcoef(torch.stack((first, second)))[0, 1])) < 0.015

    def test_shares_are_told_from_seed_and_step(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """The same step draws the same, another step or seed other parts; shares lie in their range."""
        task, other = task_of(model32), task_of(model32, seed=1)
        task.trainer = other.trainer = trainer_of(Path(), [], max_steps=1)
        first, again, later = (task.drawn(scans, step) for step in (0, 0, 1))
        assert torch.equal(first.shown, again.shown)
        assert not torch.equal(first.shown, later.shown)
        assert not torch.equal(first.shown, other.drawn(scans, 0).shown)
        shares = torch.cat([task.drawn(scans, step).shown_share.flatten() for step in range(20)])
        assert 0.1 <= float(shares.min()) < 0.2
        assert 0.8 < float(shares.max()) <= 1.0


@quiet
class TestTraining:
    @pytest.mark.parametrize(("target", "most"), [("expected", 0.5), ("split", 0.75)])
    def test_it_denoises(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path, target: Any, most: float
    ) -> None:
        """Forty steps, with and without truth: on its six scans well below the counts' own error."""
        optimizer = partial(torch.optim.AdamW, lr=1e-2)
        task = task_of(model32, target=target, schedule=None, optimizer=optimizer, thinning=(0.5, 1.0))
        fitted(task, scans, tmp_path, 40).eval()
        with torch.no_grad():
            own = task.per_sample_loss(scans.projections, scans)
            assert float((task.per_sample_loss(task.predict_batch(scans), scans) / own).max()) < most

    def test_control_differs_by_the_adversary_alone(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Same first weights; weight 0 never touches the discriminator and is the task without one."""
        control, adversarial, without = task_of(model32, 0.0), task_of(model32, 1.0), task_of(model32)
        assert same(control.state_dict(), adversarial.state_dict())
        assert control.discriminator is not None
        first = {name: value.clone() for name, value in control.discriminator.state_dict().items()}
        for task in (control, adversarial, without):
            fitted(task, scans, tmp_path, 4)
        assert adversarial.discriminator is not None
        assert same(control.discriminator.state_dict(), first)
        assert not same(adversarial.discriminator.state_dict(), first)
        assert same(without.network.state_dict(), control.network.state_dict())
        assert not same(adversarial.network.state_dict(), control.network.state_dict())

    def test_mirrored_pixels_change_places_with_their_targets(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Counts, target and live pixels move alike, by the table of the axis."""
        task, order = task_of(model32), torch.arange(48).flip(0)
        task._partners = {-1: order}
        live = torch.ones(48)
        live[3] = 0
        share = torch.ones(len(scans.index), 1, 1)
        parts = Parts(scans.projections, share, 2 * scans.projections, share, live)
        moved = task.mirrored(parts, (-1,))
        assert torch.equal(moved.shown, scans.projections[:, order])
        assert torch.equal(moved.target, 2 * moved.shown)
        assert float(moved.live[44]) == 0


class TestLosses:
    def test_they_compare_shares_with_shares(self) -> None:
        """A whole scan of 10 and 20 counts against a target that holds 0.4 of it: no error, no deviance; at
        twice that the error is 1, and the deviance 2 sum(x - t + t ln(t / x)) / sum(t) by hand."""
        whole = torch.tensor([[[10.0], [20.0]]])
        view = DenoisingView(0.4 * whole, torch.full((1, 1, 1), 0.4), 0)
        assert float(ProjectionError()(whole, None, view)) == pytest.approx(0, abs=1e-6)
        assert float(TargetDeviance()(whole, None, view)) == pytest.approx(0, abs=1e-6)
        assert float(ProjectionError()(2 * whole, None, view)) == pytest.approx(1.0)
        by_hand = 2 * (1 - float(torch.tensor(2.0).log()))
        assert float(TargetDeviance()(2 * whole, None, view)) == pytest.approx(by_hand)


class TestPrediction:
    def test_untrained_it_is_the_linear_estimate(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """The last layer starts at 0; the linear estimate is held above 2 % of each window's mean."""
        task = task_of(model32).eval()
        task.first.fit(list(task.expected(scans)))
        with torch.no_grad():
            torch.testing.assert_close(task.predict_batch(scans), task.linear(scans.projections))

    def test_dead_pixels_are_neither_seen_nor_told(
        self, model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Whatever stands in them changes nothing, and they are 0."""
        task = task_of(model32).eval()
        task.first.fit(list(task.expected(scans)))
        live = torch.ones(48)
        live[5] = 0
        wrong = scans.projections.clone()
        wrong[:, 5] = 1e3
        with torch.no_grad():
            found = task.denoised(scans.projections, live)
            assert float(found[:, 5].abs().max()) == 0
            assert torch.equal(task.denoised(wrong, live), found)

    def test_scores_by_hand(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        """The expectation itself, and one that is a tenth too high in the second window."""
        task = task_of(model32)
        expected = task.expected(scans)
        names = ["projection_nrmse", *(f"projection_nrmse_{w}" for w in task.window_names)]
        assert task.window_names == ("60_150kev", "150_300kev", "300_500kev")
        perfect = task.scores(expected, scans)
        assert list(perfect) == names
        assert all(float(values.max()) == 0 for values in perfect.values())
        high = expected * torch.tensor([1.0, 1.1, 1.0])
        found = task.scores(high, scans)
        torch.testing.assert_close(found[names[2]], torch.full((6,), 0.1))
        counts = expected.sum(1)
        torch.testing.assert_close(found[names[0]], 0.1 * counts[:, 1] / counts.sum(1))


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"thinning": (0.5, 2.0)}, "task.thinning is"),
            ({"target": "split", "losses": {"error": ProjectionError()}}, "needs a weight of 0"),
            ({"target": "split", "weight": 1.0}, "no noise-free counts to show"),
            ({"components": 0}, "components is 0"),
        ],
    )
    def test_settings_that_mean_nothing(
        self, model32: HyperspectralForwardModel, changes: dict[str, Any], told: str
    ) -> None:
        with pytest.raises(UserError, match=told):
            task_of(model32, **changes)

    def test_defaults_are_those_of_the_config(self, model32: HyperspectralForwardModel) -> None:
        """Python and ``conf/task/denoising.yaml`` train the same."""
        path = Path(__file__).parents[3] / "conf" / "task" / "denoising.yaml"
        written: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        network = partial(ProjectionUNet, channels=(4, 4), strides=(1,))
        task = Denoising(system_of(model32), WINDOWS_KEV, network, mirror_axes=())
        assert task.target == written["target"]
        assert list(task.thinning) == written["thinning"]
        assert len(task.first.variances) == written["components"]
        assert task.first.spectra.shape[1] == min(3, written["spectra"])
        factory: Any = task.optimizer_factory
        for name, value in factory.keywords.items():
            kept = written["optimizer"][name]
            assert value == (tuple(kept) if isinstance(kept, list) else float(kept))
        ((_, loss),) = task.losses.terms().items()
        assert isinstance(loss, ProjectionError)
        assert loss.weight == written["losses"]["error"]["weight"]
