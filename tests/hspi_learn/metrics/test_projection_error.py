"""Errors of projections, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from hspi_learn.metrics import count_weighted, projection_nrmse


def test_errors_by_hand() -> None:
    """Windows of 3, 4 and 0, 10 expected counts off by 5 and by 1: errors 1 and 0.1, weighted 7 : 10."""
    expected = torch.tensor([[[3.0, 0.0, 0.0], [4.0, 10.0, 0.0]]])
    estimate = torch.tensor([[[6.0, 0.0, 1.0], [8.0, 11.0, 0.0]]])
    found = projection_nrmse(estimate, expected)
    assert found[0, :2].tolist() == pytest.approx([1.0, 0.1])
    assert math.isnan(float(found[0, 2]))  # nothing is expected there
    assert float(count_weighted(found, expected)) == pytest.approx((7 * 1.0 + 10 * 0.1) / 17)


def test_a_failure_is_infinitely_wrong() -> None:
    expected = torch.ones(1, 2, 1)
    estimate = torch.tensor([[[math.nan], [1.0]]])
    assert float(projection_nrmse(estimate, expected)) == math.inf
    assert math.isnan(float(count_weighted(projection_nrmse(0 * expected, 0 * expected), 0 * expected)))
