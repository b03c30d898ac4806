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
