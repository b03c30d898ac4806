"""Losses against their definitions."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.losses import (
    FunctionLoss,
    Loss,
    RelativeError,
    TaskLoss,
    WeightedLosses,
    count_mismatch,
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


def test_mismatch_of_totals_by_hand() -> None:
    """Windows of 12 expected and 9 counted, and of 4 and 4: 9 / 10 over 13 counts. A scan without counts
    where 2 are expected: 4 / 1, over no less than one count. Which pixel records an event does not matter."""
    expected = torch.tensor([[[5.0, 1.0], [7.0, 3.0]], [[2.0, 0.0], [0.0, 0.0]]])
    counts = torch.tensor([[[9.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert float(count_mismatch(expected, counts)) == pytest.approx((0.9 / 13 + 4.0) / 2, rel=1e-6)
    assert torch.equal(count_mismatch(expected, counts.flip(1)), count_mismatch(expected, counts))


def test_deviance_of_scans_by_hand() -> None:
    """Expected 0 and 10 where 2 and 10 are counted: the 0 is held at a thousandth of the mean, 0.005, in the
    logarithm alone. A second scan is right. 2 (0 - 2 + 2 ln(2 / 0.005)) / 12, and half of it on average."""
    expected = torch.tensor([[[0.0, 10.0]], [[3.0, 4.0]]])
    counts = torch.tensor([[[2.0, 10.0]], [[3.0, 4.0]]])
    wanted = 2 * (-2 + 2 * math.log(2 / 0.005)) / 12
    assert float(poisson_deviance(expected, counts)) == pytest.approx(wanted / 2, rel=1e-5)


def test_relative_error_by_hand() -> None:
    """Two voxels of weights 1 and 0.25. Map 1: truth (2, 4), size 4 + 4 = 8; off by (1, 2), error 1 + 1 = 2,
    sqrt(2 / 8). Map 2 is empty, and measured against the mean size of both, 4: off by (0, 2), error 1,
    sqrt(1 / 4). Both are 0.5."""
    truth = torch.tensor([[2.0, 4.0], [0.0, 0.0]]).reshape(1, 2, 1, 1, 2)
    weight = torch.tensor([1.0, 0.25]).reshape(1, 1, 1, 1, 2)
    for off, wanted in (([[1.0, 2.0], [0.0, 2.0]], 0.5), ([[0.0, 0.0], [0.0, 2.0]], 0.25)):
        estimate = truth + torch.tensor(off).reshape(truth.shape)
        assert float(relative_error(estimate, truth, weight)) == pytest.approx(wanted, rel=1e-5)
        view: Any = SimpleNamespace(weight=weight)
        batch: Any = SimpleNamespace(activity=truth)
        assert float(RelativeError()(estimate, batch, view)) == pytest.approx(wanted, rel=1e-5)
    assert float(relative_error(truth, truth, weight)) == pytest.approx(1e-6, rel=1e-3)


def ones(prediction: Tensor, batch: Any) -> Tensor:
    """One, two, ... for the samples of a prediction, whatever it is."""
    return 0 * prediction + torch.arange(1.0, len(prediction) + 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weight": -0.1}, r"weight is -0\.1; it needs to be 0 or more"),
        ({"weight": math.inf}, "weight is inf"),
        ({"weight": math.nan}, "weight is nan"),
        ({"from_step": -1}, "from_step is -1; it needs to be 0 or more"),
        ({"every": 0}, "every is 0; it needs to be 1 or more"),
    ],
)
def test_wrong_weights_and_rhythms_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        RelativeError(**settings)


def test_a_loss_is_of_weight_one_in_every_update_unless_said() -> None:
    """Defaults of every loss; weight 0 is allowed and switches it off."""
    for loss in (RelativeError(), FunctionLoss(ones), TaskLoss()):
        assert (loss.weight, loss.from_step, loss.every) == (1.0, 0, 1)
        assert [loss.due(step) for step in range(3)] == [True] * 3
    assert not RelativeError(weight=0.0).due(0)


def test_losses_of_a_task_are_summed_over_means_of_samples() -> None:
    """Values 1, 2 and 3 have the mean 2. A plain function weighs 1; the task's own, ten times as large, 0.5:
    2 + 0.5 * 20 = 12. Where nothing is due the sum is 0, and so is its gradient."""
    losses = WeightedLosses(
        {"plain": ones, "own": TaskLoss(0.5)}, own=lambda prediction, batch: 10 * ones(prediction, batch)
    )
    prediction = torch.zeros(3, requires_grad=True)
    found = losses.computed(prediction, None, None, step=0)
    assert {name: value.item() for name, value in found.items()} == {"plain": 2.0, "own": 20.0}
    assert losses.weighted_sum(found, prediction).item() == 12.0
    losses.weighted_sum({}, prediction).backward()
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["a b", "train/a", "", "training", "weighted_sum"])
def test_losses_have_names_that_a_log_can_show(name: str) -> None:
    """A word with a space or a slash, none at all, and what the mapping itself is made of."""
    with pytest.raises(UserError, match=f"losses holds '{name}'; it needs a plain name"):
        WeightedLosses({name: ones}, own=ones)


@pytest.mark.parametrize("losses", [{}, {"a": FunctionLoss(ones, 0.0), "b": TaskLoss(0.0)}])
def test_a_task_needs_a_loss_to_train_on(losses: dict[str, Loss]) -> None:
    with pytest.raises(UserError, match=r"losses holds \[.*\], none of weight above 0"):
        WeightedLosses(losses, own=ones)
