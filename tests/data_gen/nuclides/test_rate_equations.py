"""Propagators against closed forms and 60-digit arithmetic."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.nuclides.rate_equations import propagators, total_integral


def test_one_state():
    """exp(-k t) - 1 and (1 - exp(-k t)) / k, 1e-14 relative."""
    for rate, time in ((2.0, 1e-9), (2.0, 0.3), (0.5, 10.0), (1e-12, 1.0)):
        change, integral = propagators(torch.tensor([[-rate]], dtype=torch.float64), time)
        assert float(change) == pytest.approx(math.expm1(-rate * time), rel=1e-14)
        assert float(integral) == pytest.approx(-math.expm1(-rate * time) / rate, rel=1e-14)


def test_a_member_of_microseconds_beside_one_of_days():
    """Two-member Bateman equation, 12 decades apart, 1e-12; torch.linalg.matrix_exp is 4e-5 off here."""
    slow, fast, time = 8e-7, 1.65e5, 1e6
    matrix = torch.tensor([[-slow, 0.0], [slow, -fast]], dtype=torch.float64)
    change, integral = propagators(matrix, time)
    assert float(change[0, 0]) == pytest.approx(math.expm1(-slow * time), rel=1e-12)
    assert float(change[1, 0]) == pytest.approx(slow / (fast - slow) * math.exp(-slow * time), rel=1e-12)
    assert float(integral[0, 0]) == pytest.approx(-math.expm1(-slow * time) / slow, rel=1e-12)
    start, outflow = torch.tensor([[1.0, 0.0], [slow, fast]], dtype=torch.float64)
    total = total_integral(matrix, start, outflow)
    assert total.tolist() == pytest.approx([1.0, 1.0], rel=1e-14)


def test_equal_rates():
    """k t exp(-k t) where eigenvectors do not exist (a chain of equal rates), 1e-13."""
    matrix = torch.tensor([[-2.0, 0.0], [2.0, -2.0]], dtype=torch.float64)
    change, _ = propagators(matrix, 1.7)
    assert float(change[1, 0]) == pytest.approx(3.4 * math.exp(-3.4), rel=1e-13)


@settings(max_examples=15, derandomize=True)
@given(
    st.lists(st.floats(-9.0, 1.0), min_size=9, max_size=9),
    st.lists(st.floats(-8.0, 5.0), min_size=3, max_size=3),
    st.floats(-2.0, 6.0),
)
def test_random_exchange_and_decay(exponents, losses, log_time):
    """mpmath with 60 digits; three states, rates over 14 decades; 1e-10 relative."""
    rates = torch.tensor([10.0**e for e in exponents], dtype=torch.float64).reshape(3, 3)
    rates.fill_diagonal_(0)
    matrix = rates - torch.diag(rates.sum(0) + torch.tensor([10.0**e for e in losses]).double())
    time = 10.0**log_time
    change, integral = propagators(matrix, time)
    with mpmath.workdps(60):
        exact = mpmath.expm(mpmath.matrix(matrix.tolist()) * mpmath.mpf(time))
        jump = exact - mpmath.eye(3)
        area = mpmath.inverse(mpmath.matrix(matrix.tolist())) * jump
        truth = torch.tensor([[float(jump[i, j]) for j in range(3)] for i in range(3)], dtype=torch.float64)
        under = torch.tensor([[float(area[i, j]) for j in range(3)] for i in range(3)], dtype=torch.float64)
    torch.testing.assert_close(change, truth, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(integral, under, rtol=1e-10, atol=1e-14 * float(under.max()))
