"""Games of discriminator and generator by hand, their penalties on discriminators whose slope is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.losses import (
    Game,
    HingeGame,
    LeastSquaresGame,
    RelativisticGame,
    WassersteinGame,
    feature_matching,
    gradient_ratio_weight,
    r1_penalty,
    squared_slopes,
)
from hspi_learn.networks import MultiScaleDiscriminator, PatchDiscriminator

REAL, FAKE = torch.tensor([1.5, 0.5]), torch.tensor([0.2, -1.4])
GAMES: list[Game] = [LeastSquaresGame(), HingeGame(), WassersteinGame(), RelativisticGame()]


def _softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("game", "discriminator", "generator"),
    [
        (LeastSquaresGame(), 0.5 * ((0.25 + 0.25) / 2 + (0.04 + 1.96) / 2), (0.64 + 5.76) / 2),
        (HingeGame(), 0.5 * ((0.0 + 0.5) / 2 + (1.2 + 0.0) / 2), 0.6),
        (WassersteinGame(), -0.6 - 1.0, 0.6),
        (
            # Real scores 2.1 and 1.1 above the mean estimate, estimates .8 and 2.4 below the mean truth.
            RelativisticGame(),
            0.25 * (_softplus(-2.1) + _softplus(-1.1) + _softplus(-0.8) + _softplus(-2.4)),
            0.25 * (_softplus(2.1) + _softplus(1.1) + _softplus(0.8) + _softplus(2.4)),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_games_by_hand(game: Game, discriminator: float, generator: float) -> None:
    """Truths that score 1.5 and 0.5, estimates that score 0.2 and -1.4; the papers' formulas, to 1e-6."""
    assert float(game.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
    assert float(game.generator(REAL, FAKE)) == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
def test_both_want_opposite_scores(game: Game) -> None:
    """Right verdicts cost the discriminator less than wrong ones, and fooling it lowers the generator's
    loss; a game that needs no truth gives the same without it."""
    high, low = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert float(game.discriminator(high, low)) < float(game.discriminator(low, high))
    assert float(game.generator(low, torch.ones(4))) < float(game.generator(high, low))
    if not game.needs_truth:
        assert torch.equal(game.generator(None, low), game.generator(high, low))


def _quadratic(image: Tensor) -> Tensor:
    """A score whose slope is the image itself."""
    return 0.5 * image.square().flatten(1).sum(dim=1)


def test_r1_is_half_the_squared_slope_at_truths() -> None:
    """Of a score |x|^2 / 2 the slope is x: |x|^2 / 2 of (3, 4) and (0, 2), 12.5 and 2, mean 7.25."""
    truth = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert squared_slopes(_quadratic, truth).tolist() == [25.0, 4.0]
    assert float(r1_penalty(_quadratic, truth).detach()) == 7.25


def test_gradient_penalty_lies_between_truth_and_estimate() -> None:
    """At 1/4 (4, 0) + 3/4 (0, 4) = (1, 3) and at the second truth (0, 3), weight 10: the slopes of |x|^2 / 2
    are of length sqrt(10) and 3, so 10 ((sqrt(10) - 1)^2 + 4) / 2, to 1e-6. Other games have none."""
    truth, estimate = torch.tensor([[4.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 4.0], [7.0, 7.0]])
    share = torch.tensor([0.25, 1.0])
    found = WassersteinGame().penalty(_quadratic, truth, estimate, share)
    assert float(found.detach()) == pytest.approx(5 * ((math.sqrt(10) - 1) ** 2 + 4), rel=1e-6)
    assert HingeGame().penalty(_quadratic, truth, estimate, share) is None


def test_a_flat_discriminator_has_a_finite_gradient_penalty() -> None:
    """Slope 0 costs (0 - 1)^2, and what is differentiated of it is finite."""
    weight = torch.zeros((), requires_grad=True)
    penalty = WassersteinGame(2.0).penalty(
        lambda x: weight * x.sum(dim=1), torch.ones(3, 2), torch.zeros(3, 2), torch.rand(3)
    )
    assert float(penalty.detach()) == pytest.approx(2.0, rel=1e-6)
    (slope,) = torch.autograd.grad(penalty, weight)
    assert bool(torch.isfinite(slope))


@pytest.mark.parametrize("mixed", [False, True], ids=["full precision", "under autocast"])
def test_second_order_gradients_of_a_toy(mixed: bool) -> None:
    """torch's gradgradcheck of both penalties in the weights of a smooth discriminator, in float64: what the
    discriminator's step differentiates, and once more. Mixed precision around it changes nothing."""
    generator = torch.Generator().manual_seed(0)
    first, last = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 4), (4,)))
    truth, estimate = torch.rand(2, 2, 3, generator=generator, dtype=torch.float64).unbind()

    def penalties(first: Tensor, last: Tensor) -> Tensor:
        def scoring(image: Tensor) -> Tensor:
            return torch.tanh(image @ first) @ last

        game = WassersteinGame(1.0)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return r1_penalty(scoring, truth) + game.penalty(scoring, truth, estimate, truth[:, 0])

    inputs = (first.requires_grad_(), last.requires_grad_())
    assert torch.autograd.gradcheck(penalties, inputs)
    assert torch.autograd.gradgradcheck(penalties, inputs)


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "patch": partial(PatchDiscriminator, channels=4, layers=1),
    "multi-scale": partial(MultiScaleDiscriminator, channels=4),
    "patch of panels": partial(PatchDiscriminator, channels=4, layers=1, spatial_dims=2, others=0),
    "multi-scale of panels": partial(MultiScaleDiscriminator, channels=4, spatial_dims=2, others=0),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_second_order_gradients_of_every_discriminator(name: str) -> None:
    """The slope of the R1 penalty in a random direction of the weights against central differences, in
    float64, 1e-3: what R1 and WGAN-GP train by goes through every layer, normalised ones as well."""
    shape = (8, 8) if "panels" in name else (8, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network: Any = DISCRIMINATORS[name](1).double().eval()
        truth, initial, density = torch.rand(3, 2, 1, *shape, dtype=torch.float64).unbind()
        weights = list(network.parameters())
        direction = [torch.randn_like(weight) for weight in weights]
    for weight in weights:  # MONAI draws them so small that slopes of slopes would drown in rounding
        weight.data *= 10
    conditions = (initial,) if "panels" in name else (initial, density)

    def penalty() -> Tensor:
        scores = network.scores_and_features(truth, *conditions)[0]

        def scoring(image: Tensor) -> Tensor:
            made = network.scores_and_features(image, *conditions)[0]
            return torch.stack([one.flatten(1).mean(dim=1) for one in made]).mean(dim=0)

        assert len(scores) == 1 + name.startswith("multi")
        return r1_penalty(scoring, truth)

    slopes = torch.autograd.grad(penalty(), weights, allow_unused=True)
    along = sum(float((s * d).sum()) for s, d in zip(slopes, direction, strict=True) if s is not None)

    def moved(step: float) -> float:
        for weight, way in zip(weights, direction, strict=True):
            weight.data += step * way
        value = float(penalty().detach())
        for weight, way in zip(weights, direction, strict=True):
            weight.data -= step * way
        return value

    step = 1e-6
    assert along != 0
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(along, rel=1e-3)


def test_a_verdict_pulls_as_hard_as_it_is_asked_to() -> None:
    """Losses with a gradient (3, 4) and a verdict with (0, 0.5) at the estimate: at a ratio of 0.3 the weight
    is 0.3 x 5 / 0.5 = 3, whatever either is multiplied by before; and it is no part of any gradient."""
    estimate = torch.ones(2, requires_grad=True)
    losses = (torch.tensor([3.0, 4.0]) * estimate).sum()
    verdict = 0.25 * estimate[1].square()
    weight = gradient_ratio_weight(losses, verdict, estimate, 0.3)
    assert float(weight) == pytest.approx(3.0, rel=1e-6)
    assert not weight.requires_grad
    assert float(gradient_ratio_weight(losses, 7 * verdict, estimate, 0.3)) == pytest.approx(3 / 7, rel=1e-6)
    assert float(gradient_ratio_weight(2 * losses, verdict, estimate, 0.3)) == pytest.approx(6.0, rel=1e-6)
    (total,) = torch.autograd.grad(losses + weight * verdict, estimate)
    assert torch.allclose(total, torch.tensor([3.0, 4.0 + 3.0 * 0.5]))


def test_a_verdict_without_a_slope_has_no_weight() -> None:
    """A flat discriminator, and losses that are at their lowest: 0, not infinite and not NaN."""
    estimate = torch.ones(2, requires_grad=True)
    slope, flat = estimate.sum(), 0 * estimate.sum()
    assert float(gradient_ratio_weight(slope, flat, estimate, 0.3)) == 0
    assert float(gradient_ratio_weight(flat, slope, estimate, 0.3)) == 0


def test_features_are_matched_layer_by_layer() -> None:
    """Mean absolute differences 1 and 3 of two layers of different size: 2, with a gradient in the estimate's
    features alone."""
    fake = [torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 5, requires_grad=True)]
    real = [torch.ones(1, 2, requires_grad=True), torch.full((1, 5), -3.0)]
    found = feature_matching(fake, real)
    found.backward()
    assert float(found.detach()) == 2.0
    assert fake[0].grad is not None
    assert real[0].grad is None


def test_spectral_norm_bounds_every_layer() -> None:
    """The largest singular value of each convolution's matrix is 1 after some power iterations, to 2 %; and
    scores of truths of any activity stay within what slopes of 1 allow."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = MultiScaleDiscriminator(1, channels=4)
    image, density = torch.rand(2, 1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    for _ in range(30):
        network(image, image, density)
    layers = [part for part in network.modules() if isinstance(part, nn.Conv3d)]
    assert len(layers) == 3 + 4  # one and two strided layers, each with a first and a last one
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert float(largest.detach()) == pytest.approx(1.0, rel=0.02)


def test_features_and_scores_are_those_of_one_pass() -> None:
    """What is asked for with features is what is scored without; the last features lead to the scores."""
    network = PatchDiscriminator(1, channels=4, layers=1)
    image, density = torch.rand(2, 2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    (scores,), features = network.scores_and_features(image, image, density)
    assert torch.equal(scores, network(image, image, density))
    last = list(network.body.children())[-1]
    assert torch.equal(last(features[-1]), scores)
    assert len(features) == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (partial(WassersteinGame, 0.0), r"gradient_penalty is 0\.0; it needs to be above 0"),
        (partial(MultiScaleDiscriminator, 1, scales=4), r"discriminator\.scales is 4; it needs 1 to 3"),
        (partial(MultiScaleDiscriminator, 1, layers=3, scales=3), r"discriminator\.layers is 9"),
        (partial(PatchDiscriminator, 1, spatial_dims=1), r"discriminator\.spatial_dims is 1"),
        (partial(PatchDiscriminator, 1, others=-1), r"discriminator\.others is -1"),
    ],
)
def test_wrong_settings_are_told(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()


def test_cross_entropy_of_the_relativistic_game() -> None:
    """Against torch's binary cross entropy with logits, to 1e-6."""
    found = RelativisticGame().discriminator(REAL, FAKE)
    over, under = REAL - FAKE.mean(), FAKE - REAL.mean()
    wanted = functional.binary_cross_entropy_with_logits(
        torch.cat((over, under)), torch.tensor([1.0, 1.0, 0.0, 0.0])
    )
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
