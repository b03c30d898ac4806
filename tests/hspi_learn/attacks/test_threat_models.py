"""Balls in Poisson units: bounds, exact projections, and what lies at their rim."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.attacks import PoissonBall, PoissonBox, check_space, noise_sd

BALLS = (PoissonBall, PoissonBox)


def _scan(
    seed: int, level: float, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Counts [3, 20, 4] of mean ``level``, their whitening, and the generator."""
    generator = torch.Generator().manual_seed(seed)
    expected = level * 2 * torch.rand(3, 20, 4, generator=generator, dtype=dtype)
    return torch.poisson(expected, generator=generator), noise_sd(expected), generator


def _size(ball: PoissonBall | PoissonBox, u: Tensor) -> Tensor:
    order = 2 if isinstance(ball, PoissonBall) else math.inf
    return torch.linalg.vector_norm(u.double().flatten(1), order, dim=1)


@pytest.mark.parametrize("ball", BALLS)
@settings(max_examples=40)
@given(
    radius=st.just(0.0) | st.floats(1e-3, 50.0),
    level=st.sampled_from([0.01, 1.0, 1e3, 1e6]),
    stretch=st.floats(0.0, 100.0),
    seed=st.integers(0, 1000),
)
def test_perturbation_is_allowed(
    ball: type[PoissonBall] | type[PoissonBox], radius: float, level: float, stretch: float, seed: int
) -> None:
    """Size <= radius (1 + 1e-6) plus an ulp of the counts, counts >= 0 exactly, at any level of counts."""
    threat = ball(radius)
    counts, sd, generator = _scan(seed, level)
    u = threat.project(stretch * torch.randn(counts.shape, generator=generator), counts, sd)
    after = threat.perturbed(counts, u, sd)
    assert bool((after >= 0).all())
    assert bool((_size(threat, u) <= radius * (1 + 1e-6)).all())
    ulp = torch.nextafter(counts, torch.full_like(counts, math.inf)) - counts
    moved = (after.double() - counts.double()).abs()
    assert bool((moved <= sd.double() * u.double().abs() * (1 + 1e-6) + 2 * ulp).all())


@pytest.mark.parametrize("ball", BALLS)
def test_projection_is_nearest(ball: type[PoissonBall] | type[PoissonBox]) -> None:
    """v - P(v) makes an obtuse angle with every way back into the convex set (variational inequality)."""
    threat = ball(2.0)
    counts, sd, generator = _scan(1, 1.0, torch.float64)
    v = 3 * torch.randn(counts.shape, generator=generator, dtype=torch.float64)
    nearest = threat.project(v, counts, sd)
    for _ in range(50):
        other = threat.project(
            torch.randn(counts.shape, generator=generator, dtype=torch.float64), counts, sd
        )
        assert bool((((v - nearest) * (other - nearest)).sum(dim=(1, 2)) <= 1e-9).all())
    assert torch.allclose(threat.project(nearest, counts, sd), nearest, atol=1e-12)


@pytest.mark.parametrize("ball", BALLS)
def test_nothing_allowed_changes_nothing(ball: type[PoissonBall] | type[PoissonBox]) -> None:
    """Radius 0 leaves the counts exactly as they are."""
    counts, sd, generator = _scan(2, 30.0)
    threat = ball(0.0)
    u = threat.project(torch.randn(counts.shape, generator=generator), counts, sd)
    assert torch.equal(threat.perturbed(counts, u, sd), counts)


@pytest.mark.parametrize("level", [0.01, 1.0, 100.0])
def test_random_points_lie_at_the_rim(level: float) -> None:
    """A random point of the L2 ball has the full radius (1e-5) even where most bins are empty."""
    threat = PoissonBall(3.0)
    counts, sd, generator = _scan(3, level)
    u = threat.random(counts, sd, generator)
    assert torch.allclose(_size(threat, u), torch.full((3,), 3.0, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_wrong_radius_is_named(ball: type[PoissonBall] | type[PoissonBox], radius: float) -> None:
    """A radius that is not 0 or more is refused with its value."""
    with pytest.raises(UserError, match=rf"radius is {radius}"):
        ball(radius)


@pytest.mark.parametrize("ball", BALLS)
def test_other_spaces_are_refused(ball: type[PoissonBall] | type[PoissonBox]) -> None:
    """Noise of counts means nothing to an image: one sentence names both."""
    check_space(ball(1.0), "counts", "GAN")
    with pytest.raises(
        UserError, match=f"{ball.__name__}, which changes counts, but the inputs of X are image"
    ):
        check_space(ball(1.0), "image", "X")


def test_noise_by_hand() -> None:
    """sqrt(n + 1e-3): 0.0316 where nothing or less is expected, 2 for 3.999 counts; 1e-6."""
    found = noise_sd(torch.tensor([0.0, -7.0, 3.999, 99.999]))
    assert found.tolist() == pytest.approx([math.sqrt(1e-3), math.sqrt(1e-3), 2.0, 10.0], rel=1e-6)


@pytest.mark.parametrize("ball", BALLS)
def test_what_is_never_expected_cannot_be_changed(ball: type[PoissonBall] | type[PoissonBox]) -> None:
    """Scales by hand: a dead pixel has 0, and stays as it is under any perturbation; without expectation the
    counts stand for it."""
    threat = ball(2.0)
    counts, expected = torch.tensor([[0.0, 5.0, 3.0]]), torch.tensor([[0.0, 3.999, 0.0]])
    scale = threat.scale(counts, expected)
    assert scale.tolist() == [pytest.approx([0.0, 2.0, 0.0], rel=1e-6)]
    torch.testing.assert_close(threat.scale(counts, None), (counts + 1e-3).sqrt())
    u = threat.project(torch.full_like(counts, 50.0), counts, scale)
    assert u.tolist() == [pytest.approx([0.0, 2.0, 0.0], rel=1e-6)]
    assert threat.perturbed(counts, u, scale).tolist() == [pytest.approx([0.0, 9.0, 3.0], rel=1e-6)]
    assert threat.perturbed(counts, -u, scale).tolist() == [pytest.approx([0.0, 1.0, 3.0], rel=1e-6)]
    for seed in range(5):
        drawn = threat.random(counts, scale, torch.Generator().manual_seed(seed))
        assert drawn.abs().tolist() == [pytest.approx([0.0, 2.0, 0.0], rel=1e-6)]
    assert not threat.random(counts, 0 * scale, torch.Generator().manual_seed(0)).any()


@pytest.mark.parametrize("ball", BALLS)
def test_only_an_empty_bin_cannot_fall(ball: type[PoissonBall] | type[PoissonBox]) -> None:
    """Counts of 4 and 0, at 0, 1 and 8 in the candidate, with slopes down and up: by hand."""
    threat = ball(1.0)
    values = torch.tensor([[4.0, 4.0, 4.0, 4.0, 4.0, 0.0, 0.0]])
    candidate = torch.tensor([[0.0, 0.0, 1.0, 1.0, 8.0, 0.0, 1.0]])
    uphill = torch.tensor([[-3.0, 3.0, -3.0, 3.0, -3.0, -3.0, -3.0]])
    assert threat.feasible(uphill, candidate, values).tolist() == [[0.0, 3.0, -3.0, 3.0, -3.0, 0.0, -3.0]]


def test_projections_by_hand() -> None:
    """With sd 1 and counts 9, 9 and 0 the third bin can only rise: (3, 4, -7) is (3, 4, 0) long 5, the ball
    of 2.5 halves it, the box of 3.5 cuts the 4; with counts of 1 the second cannot fall by more."""
    sd, counts = torch.ones(1, 3), torch.tensor([[9.0, 9.0, 0.0]])
    far = torch.tensor([[3.0, 4.0, -7.0]])
    for threat, nearest in (
        (PoissonBall(5.0), [3.0, 4.0, 0.0]),
        (PoissonBall(2.5), [1.5, 2.0, 0.0]),
        (PoissonBox(4.0), [3.0, 4.0, 0.0]),
        (PoissonBox(3.5), [3.0, 3.5, 0.0]),
    ):
        assert threat.project(far, counts, sd).tolist() == [pytest.approx(nearest, abs=1e-6)]
    # Of (3, -4, 0) in a ball of radius 2 the second ends at -1, and the first takes what is left, sqrt(3).
    few, down = torch.tensor([[9.0, 1.0, 9.0]]), torch.tensor([[3.0, -4.0, 0.0]])
    nearest = [math.sqrt(3), -1.0, 0.0]
    assert PoissonBall(2.0).project(down, few, sd).tolist() == [pytest.approx(nearest, abs=1e-6)]
    assert PoissonBox(2.0).project(down, few, sd).tolist() == [[2.0, -1.0, 0.0]]


def test_steepest_steps_have_unit_size() -> None:
    """Of a slope (3, -4, 0): (0.6, -0.8, 0) in the ball, (1, -1, 0) in the box; no slope, no step."""
    slope = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    assert PoissonBall(7.0).ascent(slope).tolist() == [pytest.approx([0.6, -0.8, 0.0]), [0.0, 0.0, 0.0]]
    assert PoissonBox(7.0).ascent(slope).tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_random_corners_of_the_box() -> None:
    """Far from empty bins each is moved by the radius exactly, up as often as down: 240 +- 5 deviations."""
    threat = PoissonBox(1.5)
    counts, sd, generator = _scan(4, 1e4)
    u = torch.cat([threat.random(counts, sd, generator) for _ in range(2)])
    assert bool((u.abs() == 1.5).all())
    assert abs(int((u > 0).sum()) - 240) < 5 * math.sqrt(480 / 4)
