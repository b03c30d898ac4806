"""The adversary of a task on panels of four pixels: its step, its verdict, and the average of the network.

Truth: steps written down by hand, with networks of one weight and plain gradient descent; 1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.losses import FunctionLoss, HingeGame, RelativisticGame, WassersteinGame
from hspi_learn.networks import MultiScaleDiscriminator, PatchDiscriminator
from hspi_learn.tasks import AdversarialTask, Adversary, Inputs, Watched, seeded_network
from hspi_learn.tasks.schedule import averaging_decay

NOISY, TRUTH = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[2.0, 2.0], [2.0, 2.0]])
P, Q, RATE, RATE_Q = 0.5, 0.25, 0.1, 0.2


class Scale(nn.Module):
    """One weight times the image, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(P))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        return self.p * image


class Mean(nn.Module):
    """One weight times the mean difference of an image to what it was made from."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.tensor(Q))

    def forward(self, image: Tensor, noisy: Tensor) -> Tensor:
        return self.q * (image - noisy).mean(dim=(1, 2, 3))[:, None]


class Denoiser(AdversarialTask):
    """Panels [batch, window, y, x] of noisy and true counts, the task that this file is about."""

    watched = Watched("val/error", "min")

    def __init__(self, model: HyperspectralForwardModel, adversary: Adversary | None, **changes: Any) -> None:
        system: Any = _System(model)
        settings: dict[str, Any] = {
            "system": system,
            "windows_kev": [60.0, 150.0, 300.0, 500.0],
            "initial": partial(Osem, iterations=1, subsets=2),
            "losses": {"squares": FunctionLoss(lambda x, batch: (x - batch[1]).square().mean())},
            "optimizer": partial(torch.optim.SGD, lr=RATE),
            "schedule": None,
            "mirror_axes": (),
            "largest_gradient": 1e9,
            "accumulate_batches": 1,
            "seed": 0,
            **changes,
        }
        super().__init__(adversary, **settings)
        self.network = seeded_network(Scale, 0)
        self.discriminator = self.discriminator_of(1)
        self.average = self.average_of(self.network)
        self.logged: list[Mapping[str, Tensor]] = []

    def networks(self) -> tuple[nn.Module, nn.Module | None]:
        return self.network, self.discriminator

    def inputs(self, batch: Any) -> Inputs:
        return Inputs(batch[0], "counts")

    def predict(self, inputs: Inputs) -> Tensor:
        predicted: Tensor = self.predictor(inputs.values)
        return predicted

    def per_sample_loss(self, prediction: Tensor, batch: Any) -> Tensor:
        return (prediction - batch[1]).square().flatten(1).mean(dim=1)

    def scores(self, prediction: Tensor, batch: Any) -> dict[str, Tensor]:
        return {"error": self.per_sample_loss(prediction, batch)}

    def setup(self, stage: str) -> None:
        """Nothing is kept beside a data set."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        noisy, truth = batch
        estimate = self.network(noisy)
        losses = self.losses.computed(estimate, batch, None, int(self.updates))
        total = self.losses.weighted_sum(losses, estimate)
        total, told = self.against_adversary(total, estimate, truth, noisy, batch_idx=batch_idx)
        self.network.seen += 1
        self.logged.append({**told, **self.step_network(total, batch_idx)})


class _System:
    def __init__(self, model: HyperspectralForwardModel) -> None:
        self.groups, self.forward_model = model.groups, lambda windows: model


def fit(task: Denoiser, folder: Path, steps: int = 1) -> Denoiser:
    batch = NOISY[None, None].repeat(2, 1, 1, 1), TRUTH[None, None].repeat(2, 1, 1, 1)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    loader = DataLoader([batch] * 3, batch_size=None)
    trainer.fit(task, loader, loader)
    return task


def of(task: Denoiser, name: str = "network.p") -> float:
    return float(task.state_dict()[name])


# Means over the four pixels: noisy 2.5, truth 2; sums of squares over the mean 7.5, of noisy times truth 5.
LOSS_SLOPE = 2 * (P * 7.5 - 5.0)
REAL, FAKE = 2.0 - 2.5, P * 2.5 - 2.5
"""What the discriminator multiplies its weight by, of truth and of estimate."""


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning")
class TestSteps:
    @pytest.fixture(autouse=True)
    def _places(self, model32: HyperspectralForwardModel, tmp_path: Path) -> None:
        self.model, self.folder = model32, tmp_path

    def adversary(self, **settings: Any) -> Adversary:
        optimizer = partial(torch.optim.SGD, lr=RATE_Q)
        return Adversary(Mean, **{"from_share": 0.0, "optimizer": optimizer, **settings})

    @pytest.mark.parametrize("adversary", [None, "weight 0", "weight 0 of a ratio"])
    def test_the_control_follows_its_losses_alone(self, adversary: str | None) -> None:
        made = None
        if adversary:
            made = self.adversary(weight=0.0, gradient_ratio=0.5 if "ratio" in adversary else None)
        task = fit(Denoiser(self.model, made), self.folder)
        assert of(task) == pytest.approx(P - RATE * LOSS_SLOPE, rel=1e-5)
        assert adversary is None or of(task, "discriminator.q") == Q

    @pytest.mark.parametrize("steps", [1, 3])
    def test_hinge_by_hand(self, steps: int) -> None:
        """Scores -0.5 q and -1.25 q lie between -1 and 1: the discriminator's slope is (0.5 - 1.25) / 2, as
        often as it steps; then the generator's verdict has the slope -2.5 q."""
        task = fit(
            Denoiser(self.model, self.adversary(weight=0.8, game=HingeGame(), steps=steps)), self.folder
        )
        q = Q - steps * RATE_Q * 0.5 * (-REAL + FAKE)
        assert of(task, "discriminator.q") == pytest.approx(q, rel=1e-5)
        assert of(task) == pytest.approx(P - RATE * (LOSS_SLOPE - 0.8 * 2.5 * q), rel=1e-5)
        assert float(task.logged[0]["score_fake"].detach()) == pytest.approx(
            FAKE * (q + RATE_Q * 0.5 * (-REAL + FAKE))
        )

    def test_a_ratio_of_gradients_by_hand(self) -> None:
        """Losses and verdict have gradients of 2 (p noisy - truth) / n and -q / n at the estimate: the
        verdict's is scaled to 0.3 of the length of the other, whatever q is."""
        game = HingeGame()
        task = fit(Denoiser(self.model, self.adversary(gradient_ratio=0.3, game=game)), self.folder)
        others = (2 * (P * NOISY - TRUTH)).norm() / torch.full((4,), 1.0).norm()
        wanted = LOSS_SLOPE - 0.3 * float(others) * 2.5
        assert of(task) == pytest.approx(P - RATE * wanted, rel=1e-5)

    def test_r1_is_lazy(self) -> None:
        """The slope of a score at the truth is q / 4 a pixel, so R1 is q^2 / 8, at gamma 2 every other update
        2 x 2 x q / 4 more slope in the discriminator; none in the update between."""
        adversary = self.adversary(game=HingeGame(), r1=2.0, r1_every=2, weight=1e-9)
        task = fit(
            Denoiser(self.model, adversary, optimizer=partial(torch.optim.SGD, lr=0.0)), self.folder, 2
        )
        slope = 0.5 * (-REAL + FAKE)
        first = Q - RATE_Q * (slope + 2 * 2 * Q / 4)
        assert of(task, "discriminator.q") == pytest.approx(first - RATE_Q * slope, rel=1e-5)
        assert [float(one["r1"].detach()) for one in task.logged if "r1" in one] == [pytest.approx(Q * Q / 8)]

    def test_wasserstein_by_hand(self) -> None:
        """The slope of the score is q / 2 long anywhere: penalty (q / 2 - 1)^2, and scores as they are."""
        game = WassersteinGame(3.0)
        task = fit(Denoiser(self.model, self.adversary(weight=0.8, game=game)), self.folder)
        q = Q - RATE_Q * (FAKE - REAL + 3 * 2 * (Q / 2 - 1) / 2)
        assert of(task, "discriminator.q") == pytest.approx(q, rel=1e-5)
        assert of(task) == pytest.approx(P - RATE * (LOSS_SLOPE - 0.8 * 2.5 * q), rel=1e-5)

    def test_a_relativistic_generator_is_told_the_truths_score(self) -> None:
        """Two equal scans: -softplus'(fake - real) = -1 / (1 + exp(fake - real)) a unit of score."""
        task = fit(Denoiser(self.model, self.adversary(weight=0.8, game=RelativisticGame())), self.folder)
        q = of(task, "discriminator.q")
        slope = -torch.sigmoid(torch.tensor(-q * (FAKE - REAL))) * 2.5 * q
        assert of(task) == pytest.approx(P - RATE * (LOSS_SLOPE + 0.8 * float(slope)), rel=1e-5)

    def test_the_verdict_leaves_no_gradient_in_the_discriminator(self) -> None:
        """After a step its gradient is that of its own loss, and it can still learn."""
        task = Denoiser(self.model, self.adversary(weight=0.8, game=HingeGame()))
        fit(task, self.folder)
        assert isinstance(task.discriminator, Mean)
        assert float(task.discriminator.q.grad or 0) == pytest.approx(0.5 * (-REAL + FAKE), rel=1e-5)
        assert task.discriminator.q.requires_grad

    def test_the_average_predicts(self) -> None:
        """Weights p1, p2, p3 of three updates: the first is taken as it is, then shares 2/11 and 3/12 of the
        average are kept (all below 0.9). Buffers are those of the network; the trained weights are p3."""
        alone = [of(fit(Denoiser(self.model, None), self.folder, steps)) for steps in (1, 2, 3)]
        task = fit(Denoiser(self.model, None, ema_decay=0.9), self.folder, 3)
        second = alone[0] * 2 / 11 + alone[1] * 9 / 11
        assert of(task, "average.module.p") == pytest.approx(second * 3 / 12 + alone[2] * 9 / 12, rel=1e-5)
        assert of(task) == alone[2]
        assert of(task, "average.module.seen") == of(task, "network.seen") == 3
        predicted = task.predict(Inputs(torch.ones(1, 1, 2, 2), "counts"))
        assert float(predicted[0, 0, 0, 0]) == of(task, "average.module.p")
        assert not any(parameter.requires_grad for parameter in task.average.parameters())  # type: ignore[union-attr]

    def test_without_an_average_a_checkpoint_has_no_more_in_it(self) -> None:
        """Weights of before there were averages fit a task of today, and the other way round."""
        task = Denoiser(self.model, self.adversary())
        assert set(task.state_dict()) == {"updates", "network.p", "network.seen", "discriminator.q"}

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"steps": 2}, r"task\.adversary\.steps is 2 and task\.accumulate_batches 2; one of them"),
            ({"feature_matching": 1.0}, r"feature_matching is 1\.0, but Mean has no scores_and_features"),
        ],
    )
    def test_what_does_not_fit_is_told(self, settings: dict[str, Any], says: str) -> None:
        with pytest.raises(UserError, match=says):
            Denoiser(self.model, self.adversary(**settings), accumulate_batches=2)

    @pytest.mark.parametrize("decay", [1.0, -0.1])
    def test_wrong_averages_are_told(self, decay: float) -> None:
        with pytest.raises(UserError, match=rf"task\.ema_decay is {decay}"):
            Denoiser(self.model, None, ema_decay=decay)


@pytest.mark.parametrize("network", [PatchDiscriminator, MultiScaleDiscriminator])
def test_features_count_in_the_verdict(network: Any) -> None:
    """Of panels: the verdict with a weight of 3 is the plain one plus 3 times the distance of features, which
    is 0 of the truth itself; gradients reach the estimate, and none is left in the discriminator."""
    make = partial(network, channels=4, layers=1, spatial_dims=2, others=0)
    plain, matching = Adversary(make), Adversary(make, feature_matching=3.0)
    made = matching.network(1, seed=0).eval()
    truth, noisy, estimate = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    estimate.requires_grad_()
    told = matching.verdict(made, truth, estimate, (noisy,))
    alone = plain.verdict(made, truth, estimate, (noisy,))["adversarial"]
    torch.testing.assert_close(told["adversarial"], alone + 3 * told["feature_matching"])
    (slope,) = torch.autograd.grad(told["feature_matching"], estimate)
    assert float(slope.abs().sum()) > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in made.parameters())
    assert float(matching.verdict(made, truth, truth, (noisy,))["feature_matching"]) == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gradient_ratio": -0.1}, r"gradient_ratio is -0\.1; it needs to be 0 or more"),
        ({"feature_matching": float("inf")}, r"feature_matching is inf"),
        ({"r1": -1.0}, r"r1 is -1\.0"),
        ({"r1_every": 0}, r"r1_every is 0; it needs to be 1 or more"),
        ({"steps": 0}, r"steps is 0"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Adversary(Mean, **settings)


def test_how_much_of_an_average_is_kept() -> None:
    """(1 + n) / (10 + n) until the share that is asked for."""
    assert [averaging_decay(n, 0.5) for n in (0, 1, 8, 1000)] == pytest.approx([0.1, 2 / 11, 0.5, 0.5])
