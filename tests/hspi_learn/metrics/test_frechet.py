"""Frechet distance of Gaussians whose distance is known, and of samples from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from hspi_learn.metrics import frechet_distance


def sample_of(mean: Tensor, covariance: Tensor, number: int, seed: int) -> Tensor:
    """A sample whose own mean and covariance are these exactly."""
    drawn = torch.randn(number, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = drawn - drawn.mean(0)
    factor = torch.linalg.cholesky(torch.cov(white.T))
    white = torch.linalg.solve_triangular(factor, white.T, upper=False).T
    return mean + white @ torch.linalg.cholesky(covariance).T


@pytest.mark.parametrize("number", [50, 1000])
def test_two_gaussians_in_closed_form(number: int) -> None:
    """Means (1, 2) and (4, -2), covariances diag(4, 9) and diag(1, 16): 25 + (2 - 1)^2 + (3 - 4)^2 = 27,
    1e-9, whatever the number of samples, since their own moments are those."""
    first = sample_of(torch.tensor([1.0, 2.0]).double(), torch.diag(torch.tensor([4.0, 9.0]).double()), 50, 0)
    second = sample_of(
        torch.tensor([4.0, -2.0]).double(), torch.diag(torch.tensor([1.0, 16.0]).double()), number, 1
    )
    assert frechet_distance(first, second) == pytest.approx(27.0, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(27.0, rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)


def test_covariances_that_do_not_commute() -> None:
    """Against scipy's matrix square root, 1e-8."""
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(200, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    b = b @ torch.randn(5, 5, generator=generator, dtype=torch.float64) + 1
    c1, c2 = (np.cov(sample.numpy().T) for sample in (a, b))
    apart = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    wanted = apart + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(a, b) == pytest.approx(float(wanted), rel=1e-8)


def test_more_alike_is_nearer_and_more_samples_lower_the_floor() -> None:
    """Samples of one Gaussian lie apart by less the larger they are; a blurred one lies farther."""
    generator = torch.Generator().manual_seed(0)
    truth, few, many = (torch.randn(n, 8, generator=generator) for n in (4000, 60, 2000))
    floors = [frechet_distance(sample, truth) for sample in (few, many)]
    assert 0 < floors[1] < floors[0] < frechet_distance(0.3 * few, truth)


def test_failures_are_infinite_and_single_images_have_no_distance() -> None:
    truth = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    wrong = truth.clone()
    wrong[3, 1] = torch.nan
    assert frechet_distance(wrong, truth) == math.inf
    assert math.isnan(frechet_distance(truth[:1], truth))
