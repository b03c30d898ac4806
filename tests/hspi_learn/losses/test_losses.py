"""Losses against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.losses import (
    count_mismatch,
    discriminator_loss,
    generator_loss,
    poisson_deviance,
    relative_error,
)
from hspi_learn.metrics import scan_nrmse


def test_relative_error_is_the_nrmse() -> None:
    """The training loss and the metric of the tables are one definition; 1e-5."""
    generator = torch.Generator().manual_seed(0)
    estimate, truth = torch.rand(2, 3, 2, 4, 5, 6, generator=generator).unbind()
    mask = torch.rand(3, 1, 4, 5, 6, generator=generator) < 0.7
    expected = scan_nrmse(estimate, truth, mask).mean()
    torch.testing.assert_close(relative_error(estimate, truth, mask), expected, rtol=1e-5, atol=0)


@settings(max_examples=20)
@given(scale=st.floats(1e-3, 1e6))
def test_relative_error_knows_no_unit(scale: float) -> None:
    """Bq or kBq: the same error to 1e-4."""
    generator = torch.Generator().manual_seed(1)
    estimate, truth = torch.rand(2, 1, 2, 3, 3, 3, generator=generator).unbind()
    weight = torch.ones(1, 1, 3, 3, 3)
    first, second = (relative_error(estimate * s, truth * s, weight) for s in (1.0, scale))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=0)


def test_relative_error_at_the_truth_and_of_an_empty_map_is_finite() -> None:
    """No infinite gradient at a perfect estimate, nor for a map without activity."""
    truth = torch.zeros(1, 2, 3, 3, 3)
    truth[:, 0] = 1.0
    estimate = truth.clone().requires_grad_()
    relative_error(estimate, truth, torch.ones(1, 1, 3, 3, 3)).backward()
    assert estimate.grad is not None
    assert bool(torch.isfinite(estimate.grad).all())
    nothing = torch.zeros_like(truth)
    assert float(relative_error(nothing, nothing, torch.ones(1, 1, 3, 3, 3))) < 1e-3


def test_deviance_and_mismatch_vanish_at_the_counts() -> None:
    """Expected counts equal to the counts cost nothing, to 1e-6."""
    counts = torch.tensor([[[0.0, 1.0], [5.0, 100.0]]])
    assert float(poisson_deviance(counts, counts)) == pytest.approx(0, abs=1e-6)
    assert float(count_mismatch(counts, counts)) == 0


def test_deviance_of_one_bin_by_hand() -> None:
    """2 (e - n + n ln(n / e)) / n for n = 3, e = 5, to 1e-6; an empty scan costs its expectation twice."""
    value = poisson_deviance(torch.tensor([[[5.0]]]), torch.tensor([[[3.0]]]))
    assert float(value) == pytest.approx(2 * (5 - 3 + 3 * math.log(3 / 5)) / 3, rel=1e-6)
    assert float(poisson_deviance(torch.tensor([[[5.0]]]), torch.zeros(1, 1, 1))) == pytest.approx(10)


def test_deviance_has_no_gradient_at_the_truth_in_expectation(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """The score of the Poisson likelihood has mean zero: with counts at their expectation the gradient in
    activity vanishes (1e-9 of that at half the activity), and so it does for the totals."""
    attenuation = model64.attenuation(density)
    truth = 100 * torch.rand(2, 2, *model64.grid.shape, dtype=torch.float64) * (density[:, None] > 0)
    duration = torch.tensor([50.0, 70.0], dtype=torch.float64)
    counts = model64.expected_counts(truth, attenuation, duration)
    for loss in (poisson_deviance, count_mismatch):
        sizes = []
        for share in (1.0, 0.5):
            activity = (share * truth).requires_grad_()
            loss(model64.expected_counts(activity, attenuation, duration), counts).backward()
            assert activity.grad is not None
            sizes.append(float(activity.grad.norm()))
        assert sizes[0] < 1e-9 * sizes[1]


def test_events_where_none_are_expected_cost_a_finite_price() -> None:
    expected = torch.tensor([[[0.0, 10.0]]], requires_grad=True)
    loss = poisson_deviance(expected, torch.tensor([[[2.0, 10.0]]]))
    loss.backward()
    assert expected.grad is not None
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(expected.grad).all())


@pytest.mark.parametrize("kind", ["least_squares", "hinge"])
def test_adversaries_want_opposite_scores(kind: str) -> None:
    """Right verdicts cost the discriminator nothing, and fooling it lowers the generator's loss."""
    real, fake = torch.ones(4), torch.zeros(4) if kind == "least_squares" else -torch.ones(4)
    assert float(discriminator_loss(real, fake, kind)) == 0
    assert float(discriminator_loss(fake, real, kind)) > 0
    assert float(generator_loss(real, kind)) < float(generator_loss(fake, kind))
