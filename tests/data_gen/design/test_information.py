"""Fisher information and its bound against closed forms and against estimates from simulated counts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.design.information import cross_information, fisher_information, relative_deviations


def test_one_part_over_background():
    """One Poisson measurement of n counts over d known ones: relative deviation sqrt(n + d) / n, 1e-12."""
    information = fisher_information(torch.tensor([[50.0]]), torch.tensor([30.0]))
    assert float(relative_deviations(information)[0]) == pytest.approx(math.sqrt(80.0) / 50.0, rel=1e-12)


def test_two_measurements_of_two_parts():
    """Two equations in two unknowns: the deviation follows from the errors n1, n2 by the inverse matrix.

    With counts n1 = 40 s + 10 t and n2 = 5 s + 20 t: s = (20 n1 - 10 n2) / 750, t = (40 n2 - 5 n1) / 750, so
    var s = (400 * 50 + 100 * 25) / 750^2 and var t = (1600 * 25 + 25 * 50) / 750^2; within 1e-12.
    """
    parts = torch.tensor([[40.0, 5.0], [10.0, 20.0]])
    found = relative_deviations(fisher_information(parts, torch.zeros(2)))
    truth = [math.sqrt(400 * 50 + 100 * 25) / 750, math.sqrt(1600 * 25 + 25 * 50) / 750]
    assert found.tolist() == pytest.approx(truth, rel=1e-12)


def test_bound_is_reached_by_maximum_likelihood():
    """Newton's maximum-likelihood estimates from 4000 draws scatter as the bound says, within 5 %."""
    generator = torch.Generator().manual_seed(5)
    parts = 60 * torch.rand(2, 30, generator=generator, dtype=torch.float64)
    background = torch.full((30,), 4.0, dtype=torch.float64)
    counts = torch.poisson((parts.sum(0) + background).expand(4000, -1), generator=generator)
    scale = torch.ones(4000, 2, dtype=torch.float64)
    for _ in range(8):
        expected = scale @ parts + background
        slope = (counts / expected - 1) @ parts.T
        curvature = torch.einsum("kn,sn,ln->skl", parts, counts / expected**2, parts)
        scale = scale + torch.linalg.solve(curvature, slope)
    bound = relative_deviations(fisher_information(parts, background))
    assert (scale.std(dim=0) / bound).tolist() == pytest.approx([1, 1], rel=0.05)


@settings(max_examples=20, derandomize=True)
@given(seed=st.integers(0, 1000), more=st.floats(1.5, 50))
def test_more_counts_tell_more(seed, more):
    """``more`` times the counts lower each deviation by sqrt(more) (1e-9); a measurement more raises none."""
    parts = torch.rand(3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    none = torch.zeros(8, dtype=torch.float64)
    found = relative_deviations(fisher_information(parts, none))
    longer = relative_deviations(fisher_information(more * parts, none))
    fewer = relative_deviations(fisher_information(parts[:, :6], none[:6]))
    assert (found / longer).tolist() == pytest.approx([math.sqrt(more)] * 3, rel=1e-9)
    assert (found <= fewer * (1 + 1e-9)).all()


def test_noise_does_not_pass_for_information():
    """Six noisy estimates of two parts: what tells them apart, the difference of their patterns, is within
    10 % of the truth's; the mean's own information finds a quarter too much."""
    generator = torch.Generator().manual_seed(2)
    truth = 1 + 0.2 * torch.rand(2, 4000, generator=generator, dtype=torch.float64)
    noisy = truth * (1 + 0.2 * torch.randn(6, 2, 4000, generator=generator, dtype=torch.float64))
    background = torch.zeros(4000, dtype=torch.float64)
    apart = torch.tensor([1.0, -1.0], dtype=torch.float64)
    exact = apart @ fisher_information(truth, background) @ apart
    found = apart @ cross_information(list(noisy), background) @ apart
    plain = apart @ fisher_information(noisy.mean(0), background) @ apart
    assert float(found / exact) == pytest.approx(1, rel=0.1)
    assert float(plain / exact) > 1.25


def test_what_looks_alike_is_not_told_apart():
    """Two equal parts, and a part that no measurement sees, have no finite bound."""
    alike = relative_deviations(fisher_information(torch.ones(2, 3), torch.zeros(3)))
    assert alike.isinf().all()
    unseen = fisher_information(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.zeros(2))
    assert relative_deviations(unseen)[0].isinf()


def test_bound_has_a_gradient():
    """Autograd against finite differences in float64 (gradcheck's 1e-3)."""
    parts = torch.rand(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    background = torch.full((5,), 0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a: relative_deviations(fisher_information(a, background)), parts.requires_grad_(True)
    )
