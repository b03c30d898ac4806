"""Segmentation on a small dense model: learning, its control, the critic, scores, settings, pictures."""

from __future__ import annotations

import inspect
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.task_contract import WINDOWS_KEV, Scans, same, scans_of, system_of, trainer_of
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.classical import Osem
from hspi_learn.losses import DiceCrossEntropy
from hspi_learn.networks import MultiScaleCritic, SegmentationUNet
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Critic, Segmentation, segmentation, warm_up_cosine
from hspi_learn.tasks.physics_input import PhysicsInput
from hspi_learn.tasks.schedule import mirrored_axes
from hspi_learn.tasks.segmentation import CRITIC_OPTIMIZER, NETWORK_OPTIMIZER

LIMIT = 0.05
"""Of the critic's weights."""

quiet = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:.*no `val_dataloader`",
)


def task_of(
    model: HyperspectralForwardModel, weight: float | None = 1.0, share: float = 0.0, **changes: Any
) -> Segmentation:
    """A small task; ``weight`` and ``share`` are the critic's, None leaves it out."""
    critic = partial(MultiScaleCritic, channels=4, layers=2)
    settings: dict[str, Any] = {
        "network": partial(SegmentationUNet, channels=(8, 8), strides=(1,), residual_units=1),
        "organs": ("tumour", "liver"),
        "critic": None if weight is None else Critic(critic, weight, share, LIMIT),
        "initial": partial(Osem, iterations=1, subsets=2),
        **changes,
    }
    return Segmentation(system_of(model), WINDOWS_KEV, **settings)


@pytest.fixture(scope="module")
def scans(model32: HyperspectralForwardModel) -> ScanBatch:
    return scans_of(model32, torch.float32)


def fitted(task: Segmentation, scans: ScanBatch, folder: Path, steps: int) -> Segmentation:
    torch.manual_seed(0)
    trainer_of(folder, [], max_steps=steps).fit(task, datamodule=Scans(scans))
    return task


@quiet
class TestTraining:
    def test_finds_tumours_and_livers(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Eighty steps on six scans, with a critic: a Dice above 0.9 on them for both, below 0.5 before."""
        task = task_of(model32, schedule=None, mirror_axes=(), optimizer=partial(torch.optim.AdamW, lr=1e-2))

        def dices() -> tuple[float, float]:
            with torch.no_grad():
                found = task.eval().scores(task.predict_batch(scans), scans)
            task.train()
            return float(found["dice_tumour"].nanmean()), float(found["dice_liver"].nanmean())

        assert max(dices()) < 0.5
        fitted(task, scans, tmp_path, 80)
        assert min(dices()) > 0.9

    def test_control_differs_by_the_critic_alone(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Same first weights; weight 0 never touches the critic and is the task without one; a critic that is
        let in after the end of training leaves the network bit for bit as the control's."""
        control, adversarial = task_of(model32, 0.0), task_of(model32, 1.0)
        late, without = task_of(model32, 1.0, 0.9), task_of(model32, None)
        assert same(control.state_dict(), adversarial.state_dict())
        assert control.critic is not None
        assert adversarial.critic is not None
        first = {name: value.clone() for name, value in control.critic.state_dict().items()}
        for task in (control, adversarial, late, without):
            fitted(task, scans, tmp_path, 4)
            assert int(task.updates) == 4
        assert same(control.critic.state_dict(), first)
        assert not same(adversarial.critic.state_dict(), first)
        wanted = control.network.state_dict()
        assert same(late.network.state_dict(), wanted)
        assert same(without.network.state_dict(), wanted)
        assert not same(adversarial.network.state_dict(), wanted)
        limit = LIMIT + 1e-9
        assert all(float(p.detach().abs().max()) <= limit for p in adversarial.critic.parameters())
        assert max(float(value.abs().max()) for value in first.values()) > limit


class Slope(nn.Module):
    """One weight times the physics image for the tumour, 0 for the background."""

    def __init__(self, maps: int, classes: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(0.7))

    def forward(self, initial: Tensor, density: Tensor) -> Tensor:
        tumour = self.p * initial.sum(dim=1, keepdim=True)
        return torch.cat((0 * tumour, tumour), dim=1)


class OneFeature(nn.Module):
    """One weight times the activity in the tumour's mask, at two scales."""

    def __init__(self, maps: int, classes: int) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.tensor(0.3))

    def forward(self, mask: Tensor, initial: Tensor, density: Tensor) -> list[Tensor]:
        masked = self.q * mask[:, 1:] * initial.sum(dim=1, keepdim=True)
        return [masked, masked.mean(dim=(2, 3, 4))]


@quiet
@pytest.mark.parametrize("axes", [(), (-3, -2, -1)])
def test_one_step_by_hand(
    model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path, axes: tuple[int, ...]
) -> None:
    """Gradient descent of a network and a critic of one weight each, mirrored or not: the critic goes up
    the mean over two scales of what its masks differ by and is cut at its limit, and the network goes down
    Dice + CE plus 3 times that distance by the critic's new weight. 1e-3 of the step."""
    seed = next(seed for seed in range(100) if mirrored_axes((-3, -2, -1), seed, 0) == axes)
    generator = torch.Generator().manual_seed(3)
    batch = ScanBatch(*(column[:2] for column in scans))
    image = batch.density[:, None] * torch.rand(2, 2, *batch.density.shape[1:], generator=generator)
    task = Segmentation(
        system_of(model32),
        WINDOWS_KEV,
        network=Slope,
        organs=("tumour",),
        critic=Critic(OneFeature, 3.0, 0.0, 0.31, partial(torch.optim.SGD, lr=1e4)),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        schedule=None,
        mirror_axes=("z", "y", "x"),
        largest_gradient=1e9,
        seed=seed,
    )
    inputs: Any = lambda of: PhysicsInput(image, torch.ones_like(image, dtype=torch.bool))  # noqa: E731
    task.physics_inputs = inputs
    trainer = trainer_of(tmp_path, [], max_steps=1)
    trainer.fit(task, DataLoader([batch], batch_size=None))

    body = (batch.density > 0)[:, None].double()
    scale = (image * body).sum((2, 3, 4), keepdim=True) / body.sum((2, 3, 4), keepdim=True)
    seen = (image.double() / scale).sum(dim=1)
    truth = (batch.labels == ORGANS.index("tumour")).double()

    def loss(p: float) -> tuple[float, float]:
        """Dice + CE by their formulas, and the distance with a critic's weight of 1."""
        tumour = body[:, 0] / (1 + torch.exp(-p * seen))
        both = (tumour * truth).sum((1, 2, 3))
        dices = 1 - (2 * both + 1e-5) / (tumour.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1e-5)
        right = torch.where(truth > 0, tumour, 1 - tumour)
        difference = (tumour - truth) * seen
        scales = difference.abs().mean(), difference.mean((1, 2, 3)).abs().mean()
        return float(dices.mean() - right.log().mean()), float(sum(scales)) / 2

    q, h = 0.31, 1e-5  # the critic's step of 1e4 times its slope is cut at its limit
    (up, far), (down, near) = loss(0.7 + h), loss(0.7 - h)
    slope = ((up - down) + 3 * q * (far - near)) / (2 * h)
    assert abs(3 * q * (far - near)) > 0.02 * abs(up - down)
    assert isinstance(task.critic, OneFeature)
    assert float(task.critic.q.detach()) == pytest.approx(q)
    assert task.critic.q.grad is not None  # of its own step alone, up the distance
    assert float(task.critic.q.grad) == pytest.approx(-loss(0.7)[1], rel=1e-4)
    assert isinstance(task.network, Slope)
    moved = float(task.network.p.detach().double()) - float(torch.tensor(0.7).double())
    assert moved == pytest.approx(-0.1 * slope, rel=1e-3)
    logged = trainer.callback_metrics
    assert float(logged["train/dice_ce"]) == pytest.approx(loss(0.7)[0], rel=1e-4)
    assert float(logged["train/critic"]) == pytest.approx(q * loss(0.7)[1], rel=1e-4)


class TestPrediction:
    def test_probabilities(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        """They sum to 1, and nothing but background is outside of the body."""
        task = task_of(model32)
        with torch.no_grad():
            found = task.predict(task.inputs(scans))
        assert found.shape == (len(scans.index), 3, *model32.grid.shape)
        torch.testing.assert_close(found.sum(dim=1), torch.ones_like(found[:, 0]))
        outside = (scans.density == 0)[:, None].expand_as(found)
        assert float(found[outside].reshape(-1).sum()) == int((scans.density == 0).sum())
        assert bool((found[:, 1:][outside[:, 1:]] == 0).all())

    def test_k_times_the_counts_are_the_same_organs(
        self, silent_model32: HyperspectralForwardModel, scans: ScanBatch
    ) -> None:
        """Without background seven times the counts change no probability by more than 1e-4."""
        task = task_of(silent_model32)
        inputs = task.inputs(scans)
        with torch.no_grad():
            one, seven = (task.predict(inputs._replace(values=k * inputs.values)) for k in (1, 7))
        torch.testing.assert_close(one, seven, rtol=0, atol=1e-4)

    def test_scores_by_hand(self, model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
        """The truth as prediction, the same without the tumour of scan 0, and with a tumour in scan 1, which
        has none. Voxels are 2 mm wide: a tumour of two is 16 mm3."""
        task = task_of(model32)
        perfect = task.truth(scans)
        found = {name: values.tolist() for name, values in task.scores(perfect, scans).items()}
        none = [i % 2 == 1 for i in range(len(scans.index))]
        wanted = {
            "dice_tumour": 1.0,
            "dice_tumour_0_30mm3": 1.0,
            "lesions_found": 1.0,
            "surface_distance_tumour_mm": 0.0,
            "uptake_error_tumour": 0.0,
        }
        for name, value in wanted.items():
            assert [math.isnan(x) for x in found[name]] == none, name
            assert found[name][::2] == [pytest.approx(value)] * 3, name
        assert found["dice_liver"] == [pytest.approx(1.0)] * 6
        assert found["false_lesions"] == [0.0] * 6
        assert all(math.isnan(x) for x in (*found["dice_tumour_30_60mm3"], *found["dice_tumour_60mm3"]))

        wrong = perfect.clone()
        wrong[0, 1], wrong[0, 0] = 0, 1 - perfect[0, 2]
        wrong[1, :, 1, 1, 1] = torch.tensor([0.0, 1.0, 0.0])
        scores = task.scores(wrong, scans)
        diagonal = math.hypot(*(2.0 * n for n in model32.grid.shape))
        assert float(scores["dice_tumour"][0]) == float(scores["lesions_found"][0]) == 0
        assert float(scores["uptake_error_tumour"][0]) == 1
        assert float(scores["surface_distance_tumour_mm"][0]) == pytest.approx(diagonal)
        assert scores["false_lesions"].tolist() == [0, 1, 0, 0, 0, 0]
        assert scores["dice_liver"].tolist() == found["dice_liver"]

    def test_picture_shows_contours_over_the_physics_image(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In Bq/mL (voxels of 2 mm hold 0.008 mL), maps added; contours of the first scan by organ."""
        asked: list[tuple[Any, ...]] = []

        def figure(image: Any, contours: Any, spacing_mm: Any, unit: str, title: str) -> Figure:
            asked.append((image, contours, spacing_mm, unit, title))
            return Figure()

        monkeypatch.setattr(segmentation, "contour_figure", figure)
        task = task_of(model32)
        monkeypatch.setattr(task, "predict_batch", lambda batch: task.truth(batch).roll(1, dims=4))
        names = [name for name, _ in task.figures(scans._replace(index=scans.index + 17))]
        assert names == ["contours"]
        ((image, contours, spacing_mm, unit, title),) = asked
        assert (spacing_mm, unit, title) == (model32.grid.spacing_mm, "Bq/mL", "scan 17")
        initial = task.physics_inputs(ScanBatch(*(column[:1] for column in scans))).initial
        np.testing.assert_allclose(image, 125 * initial[0].sum(0), rtol=1e-5)
        assert list(contours) == ["truth", "prediction"]
        for organ in ("tumour", "liver"):
            true = (scans.labels[0] == ORGANS.index(organ)).numpy()
            assert (contours["truth"][organ] == true).all()
            assert (contours["prediction"][organ] == np.roll(true, 1, axis=2)).all()


class TestSettings:
    @pytest.mark.parametrize(
        ("organs", "told"),
        [
            (("tumour", "marrow"), "organs holds 'marrow'"),
            (("tumour", "outside"), "organs holds 'outside'"),
            (("tumour", "liver", "liver"), "each organ once"),
            (("liver",), "needs tumour among them"),
        ],
    )
    def test_organs_that_cannot_be_contoured(
        self, model32: HyperspectralForwardModel, organs: tuple[str, ...], told: str
    ) -> None:
        with pytest.raises(UserError, match=told):
            task_of(model32, organs=organs)

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"weight": -1.0}, "weight is -1.0"),
            ({"from_share": 1.5}, "from_share is 1.5"),
            ({"largest_weight": 0.0}, "largest_weight is 0.0"),
        ],
    )
    def test_critics_that_mean_nothing(self, settings: dict[str, float], told: str) -> None:
        with pytest.raises(UserError, match=told):
            Critic(MultiScaleCritic, **settings)

    def test_defaults_are_those_of_the_config(self, model32: HyperspectralForwardModel) -> None:
        """Python and ``conf/task/segmentation.yaml`` train the same."""
        path = Path(__file__).parents[3] / "conf" / "task" / "segmentation.yaml"
        written: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        task = Segmentation(
            system_of(model32), WINDOWS_KEV, partial(SegmentationUNet, channels=(4, 4), strides=(1,))
        )
        critic = Critic(MultiScaleCritic)

        def plain(factory: Any) -> dict[str, Any]:
            settings = {n: list(v) if isinstance(v, tuple) else v for n, v in factory.keywords.items()}
            return {"_target_": f"torch.optim.{factory.func.__name__}", "_partial_": True, **settings}

        assert list(task.organs) == written["organs"]
        chosen = written["critic"]
        for name in ("weight", "from_share", "largest_weight"):
            assert getattr(critic, name) == chosen[name]
        assert plain(critic.optimizer) == plain(CRITIC_OPTIMIZER) == chosen["optimizer"]
        assert plain(task.optimizer_factory) == plain(NETWORK_OPTIMIZER) == written["optimizer"]
        ((name, loss),) = task.losses.terms().items()
        node = written["losses"][name]
        assert isinstance(loss, DiceCrossEntropy)
        for key in ("weight", "dice_weight", "cross_entropy_weight", "background"):
            assert getattr(loss, key) == node[key]
        assert task.schedule_factory is warm_up_cosine
        rise = inspect.signature(warm_up_cosine).parameters["warm_up"].default
        assert rise == written["schedule"]["warm_up"]
        assert task.mirror_axes == tuple({"z": -3, "y": -2, "x": -1}[axis] for axis in written["mirror_axes"])
        assert task.largest_gradient == written["largest_gradient"]
        assert task.accumulate_batches == written["accumulate_batches"]
