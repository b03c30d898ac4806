"""Attacks against closed-form optima, and what they must leave alone."""

from collections.abc import Callable

import pytest
import torch
from contracts.attack_contract import AttackContract
from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import (
    Attack,
    Attacked,
    ImageError,
    PoissonBall,
    PoissonBox,
    ProjectedGradient,
    RandomPerturbation,
    RegionalActivity,
    noise_sd,
)
from hspi_learn.classical import Osem
from hspi_learn.reconstructor import ScanContext, scan_context

SHAPE = (2, 12, 3)


class TestProjectedGradient(AttackContract):
    def make(self) -> Attack:
        return ProjectedGradient(steps=3, restarts=2)


class TestRandomPerturbation(AttackContract):
    def make(self) -> Attack:
        return RandomPerturbation(draws=5)


def _linear(level: float) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Counts and their expectation [2, 12, 3], a weight for each, and the linear method they make."""
    generator = torch.Generator().manual_seed(7)
    expected = level * (0.5 + torch.rand(SHAPE, generator=generator, dtype=torch.float64))
    weight = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    counts = torch.poisson(expected, generator=generator)

    def method(scan: Tensor) -> Tensor:
        return (weight * scan).sum(dim=(1, 2)).reshape(-1, 1, 1, 1, 1)

    return counts, expected, weight, method


def _value(activity: Tensor) -> Tensor:
    return activity.flatten(1).sum(dim=1)


@pytest.mark.parametrize(("ball", "order"), [(PoissonBall, 2), (PoissonBox, 1)])
def test_linear_method_reaches_the_dual_norm(ball: type, order: int) -> None:
    """Far from empty bins the optimum is radius times the dual norm of sd * weight, to 1e-5 (Hoelder)."""
    counts, expected, weight, method = _linear(1e4)
    found = ProjectedGradient(steps=10).attack(lambda n: _value(method(n)), counts, ball(3.0), expected)
    slope = torch.linalg.vector_norm((noise_sd(expected) * weight).flatten(1), order, dim=1)
    assert torch.allclose(found.value - found.clean_value, 3.0 * slope, rtol=1e-5)


def test_linear_method_at_few_counts() -> None:
    """Where bins empty, the optimum is the projection of a far point along the slope (KKT), to 1e-5."""
    counts, expected, weight, method = _linear(0.7)
    threat, sd = PoissonBall(3.0), noise_sd(expected)
    found = ProjectedGradient(steps=200).attack(lambda n: _value(method(n)), counts, threat, expected)
    best = threat.project(1e6 * sd * weight, counts, sd)
    gain = (sd * weight * best).sum(dim=(1, 2))
    assert torch.allclose(found.value - found.clean_value, gain, rtol=1e-5)


def test_more_radius_is_no_less_harm() -> None:
    """The worst case rises with the radius, and radius 0 is the clean scan exactly."""
    counts, expected, _, method = _linear(2.0)
    attack = ProjectedGradient(steps=50)
    results = [
        attack.attack(lambda n: _value(method(n)), counts, PoissonBall(r), expected)
        for r in (0.0, 0.5, 1.0, 4.0)
    ]
    assert torch.equal(results[0].worst, counts)
    assert torch.equal(results[0].value, results[0].clean_value)
    assert bool((torch.stack([r.value for r in results]).diff(dim=0) > 0).all())


def _scan(model: HyperspectralForwardModel, density: Tensor) -> tuple[Tensor, Tensor, Tensor, ScanContext]:
    """Truth, expected counts, counts and context of two scans."""
    context = scan_context(model, density, torch.full((2,), 1800.0, dtype=torch.float64))
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(2, 2, *density.shape[1:], generator=generator, dtype=torch.float64) * context.body
    expected = model.expected_counts(5.0 * truth, context.attenuation, context.duration_s)
    return 5.0 * truth, expected, draw_counts(expected, generator), context


@pytest.mark.parametrize("threat", [PoissonBall(3.0), PoissonBox(0.3)])
def test_osem_is_attacked_through_its_iterations(
    model64: HyperspectralForwardModel, density: Tensor, threat: PoissonBall | PoissonBox
) -> None:
    """PGD raises the error of each scan, and further than 20 random perturbations of the same size."""
    truth, expected, counts, context = _scan(model64, density)
    osem = Osem(model64, iterations=3, subsets=4, postfilter_fwhm_mm=2.0)
    goal = ImageError(truth, context.body)

    def run(attack: ProjectedGradient | RandomPerturbation) -> Attacked:
        return attack.attack(lambda n: goal(osem.reconstruct(n, context)), counts, threat, expected)

    found, by_chance = run(ProjectedGradient(steps=10)), run(RandomPerturbation(draws=20))
    assert bool((found.value > found.clean_value).all())
    assert bool((found.value > by_chance.value).all())
    assert torch.equal(goal(osem.reconstruct(found.worst, context)), found.value)
    assert not bool(found.masked.any())


def test_scans_are_attacked_independently(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """A scan attacked alone gets the same counts as beside another (1e-9)."""
    truth, expected, counts, context = _scan(model64, density)
    osem, attack, threat = Osem(model64, 2, 4), ProjectedGradient(steps=4), PoissonBall(2.0)
    error = ImageError(truth)
    both = attack.attack(lambda n: error(osem.reconstruct(n, context)), counts, threat, expected)
    second = ScanContext(*(part[1:] for part in context))
    alone = attack.attack(
        lambda n: ImageError(truth[1:])(osem.reconstruct(n, second)), counts[1:], threat, expected[1:]
    )
    assert torch.allclose(both.worst[1:], alone.worst, rtol=0, atol=1e-9 * float(counts.max()))


def test_restarts_never_help_the_defender(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Per scan, three starts find no less than one, and more steps no less than one step."""
    truth, expected, counts, context = _scan(model64, density)
    osem = Osem(model64, 2, 4)

    def worst(steps: int, restarts: int) -> Tensor:
        attack = ProjectedGradient(steps=steps, restarts=restarts)
        return attack.attack(
            lambda n: ImageError(truth)(osem.reconstruct(n, context)), counts, PoissonBall(3.0), expected
        ).value

    assert bool((worst(5, 3) >= worst(5, 1)).all())
    assert bool((worst(12, 1) >= worst(1, 1)).all())


def test_lesion_is_moved_both_ways(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """The regional objective raises (+1) and lowers (-1) the activity of its region."""
    _, expected, counts, context = _scan(model64, density)
    osem = Osem(model64, 2, 4)
    region = torch.zeros_like(density, dtype=torch.bool)
    region[:, 2, 2, 2] = True
    for sign in (1, -1):
        goal = RegionalActivity(region, map=1, sign=sign)
        found = ProjectedGradient(steps=4).attack(
            lambda n, goal=goal: goal(osem.reconstruct(n, context)), counts, PoissonBall(2.0), expected
        )
        assert bool((found.value > found.clean_value).all())


class _Network(nn.Module):
    """BatchNorm, dropout and a parameter, of which the attack must change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(12)
        self.drop = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, counts: Tensor) -> Tensor:
        noisy = self.norm(counts.float()) + torch.rand(()) * 0
        return (self.drop(noisy) * self.scale).sum(dim=(1, 2)).reshape(-1, 1, 1, 1, 1)


@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_attack_leaves_no_trace(outside: Callable[[], torch.autograd.grad_mode.no_grad]) -> None:
    """Parameters, .grad, buffers, random state, and the mode of every part are as before."""
    network = _Network().train()
    network.drop.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    counts, expected, _, _ = _linear(4.0)
    random = torch.get_rng_state()
    with outside():
        found = ProjectedGradient(steps=3, restarts=2).attack(
            lambda n: _value(network(n)), counts, PoissonBall(2.0), expected, network
        )
    assert bool((found.value > found.clean_value).all())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert (network.training, network.norm.training, network.drop.training) == (True, True, False)


def test_hidden_gradients_are_flagged() -> None:
    """A method that kills its gradient is reported as masked, not as robust."""
    counts, expected, _, method = _linear(4.0)
    attack = ProjectedGradient(steps=2)
    found = attack.attack(lambda n: _value(method(n.round() + 0 * n)), counts, PoissonBall(1.0), expected)
    assert bool(found.masked.all())


def test_climb_that_is_not_over_is_flagged() -> None:
    """One small step of a linear goal leaves more to gain; ten bold ones reach the rim and stay there."""
    counts, expected, _, method = _linear(1e4)

    def flags(steps: int, step_fraction: float) -> Tensor:
        attack = ProjectedGradient(steps=steps, step_fraction=step_fraction)
        goal = lambda n: _value(method(n))  # noqa: E731
        return attack.attack(goal, counts, PoissonBall(3.0), expected).not_converged

    assert bool(flags(1, 0.1).all())
    assert not bool(flags(10, 2.5).any())


def test_without_expectation_the_counts_tell_the_noise() -> None:
    """An attack on measured counts, whose expectation nobody knows, is the one whitened by them."""
    counts, _, _, method = _linear(100.0)
    attack, threat = ProjectedGradient(steps=3), PoissonBall(2.0)
    plain = attack.attack(lambda n: _value(method(n)), counts, threat)
    same = attack.attack(lambda n: _value(method(n)), counts, threat, expected=counts)
    assert torch.equal(plain.worst, same.worst)


def test_nan_raises() -> None:
    """A NaN objective, or a NaN gradient of a finite one, stops the attack and names the sample."""
    counts, expected, _, method = _linear(4.0)
    bad = torch.tensor([1.0, torch.nan], dtype=torch.float64)
    attack, threat = ProjectedGradient(steps=2), PoissonBall(1.0)
    with pytest.raises(FloatingPointError, match=r"goal .* samples \[1\]"):
        attack.attack(lambda n: _value(method(n)) * bad, counts, threat, expected)
    with pytest.raises(FloatingPointError, match=r"gradient .* samples \[0, 1\]"):
        attack.attack(lambda n: (_value(method(n)) * 0).sqrt(), counts, threat, expected)


@pytest.mark.parametrize("setting", [{"steps": 0}, {"restarts": 0}, {"step_fraction": 0.0}])
def test_wrong_settings_are_named(setting: dict[str, int]) -> None:
    """An attack without steps, starts or step size is refused."""
    with pytest.raises(UserError, match=next(iter(setting))):
        ProjectedGradient(**setting)


class _Recorded:
    """The sum of the counts of each sample, and every input that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Tensor] = []

    def __call__(self, values: Tensor) -> Tensor:
        self.asked.append(values.detach().clone())
        return values.flatten(1).sum(dim=1)


def test_default_steps_by_hand() -> None:
    """Twenty steps of 2.5 / 20 of the radius from the clean input, seen before each and after the last: in a
    box of 2 standard deviations bins of 99.999 counts rise by 0.25 * 10 a step, 2 * 10 after the eighth."""
    goal, counts = _Recorded(), torch.full((1, 2, 2), 99.999, dtype=torch.float64)
    found = ProjectedGradient().attack(goal, counts, PoissonBox(2.0))
    risen = [float((values - counts).mean()) for values in goal.asked]
    assert risen == pytest.approx([min(2.5 * step, 20.0) for step in range(21)], abs=1e-9)
    assert torch.equal(found.worst, goal.asked[8])


def test_default_draws() -> None:
    """The clean input and a hundred random ones, each at a corner of the box; the worst of them is found."""
    goal, counts = _Recorded(), torch.full((2, 3, 2), 99.999, dtype=torch.float64)
    found = RandomPerturbation().attack(goal, counts, PoissonBox(1.0))
    assert torch.equal(goal.asked[0], counts)
    corners = torch.stack(goal.asked[1:])
    assert len(corners) == 100
    torch.testing.assert_close((corners - counts).abs(), torch.full_like(corners, 10.0))
    assert torch.equal(found.value, corners.flatten(2).sum(dim=2).amax(dim=0))
    assert torch.equal(found.clean_value, counts.flatten(1).sum(dim=1))
    assert not bool((found.masked | found.not_converged).any())


def test_further_starts_leave_a_stationary_point() -> None:
    """The distance from the clean counts has no slope there: one start is stuck and flags it, a second, at
    random, ends at the rim: 12 * 3 bins, each moved by half a standard deviation; chance is the seed's."""
    counts = torch.full(SHAPE, 99.999, dtype=torch.float64)

    def goal(values: Tensor) -> Tensor:
        return (values - counts).square().flatten(1).sum(dim=1)

    def found(**settings: int) -> Attacked:
        return ProjectedGradient(steps=4, **settings).attack(goal, counts, PoissonBox(0.5))

    alone, again = found(restarts=1), found(restarts=2)
    assert bool(alone.masked.all())
    assert torch.equal(alone.worst, counts)
    assert alone.value.tolist() == [0.0, 0.0]
    assert not bool(again.masked.any())
    assert again.clean_value.tolist() == [0.0, 0.0]
    assert again.value.tolist() == pytest.approx([36 * 25.0] * 2)
    assert torch.equal(again.worst, found(restarts=2, seed=0).worst)
    assert not torch.equal(again.worst, found(restarts=2, seed=1).worst)


@pytest.mark.parametrize(("step_fraction", "open_end"), [(1.97, True), (1.99, False)])
def test_more_than_a_hundredth_in_the_last_step_is_no_end(step_fraction: float, open_end: bool) -> None:
    """Of two steps up a straight slope the first takes step_fraction / 2 of the way to the rim, the second
    the rest: 1.5 % of the gain, or 0.5 %."""
    counts = torch.full((2, 3), 99.999, dtype=torch.float64)
    attack = ProjectedGradient(steps=2, step_fraction=step_fraction)
    found = attack.attack(lambda n: n.sum(dim=1), counts, PoissonBox(1.0))
    assert found.not_converged.tolist() == [open_end] * 2


def test_each_sample_has_flags_of_its_own() -> None:
    """A gradient that reaches the first sample alone: the second is masked and stays clean."""
    counts = torch.full((2, 3), 99.999, dtype=torch.float64)
    reach = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    found = ProjectedGradient(steps=2, step_fraction=0.5).attack(
        lambda n: (reach * n).sum(dim=1), counts, PoissonBox(1.0)
    )
    assert found.masked.tolist() == [False, True]
    assert found.not_converged.tolist() == [True, False]
    assert torch.equal(found.worst[1], counts[1])
    assert (found.value - found.clean_value).tolist() == pytest.approx([15.0, 0.0])
