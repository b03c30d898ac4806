"""Linear maps whose gradient is the transpose that they were given."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.core.autograd import linear

MATRIX = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _forward(x: Tensor) -> Tensor:
    return MATRIX @ x


def _transpose(y: Tensor) -> Tensor:
    return MATRIX.T @ y


def test_gradients_are_those_of_the_map() -> None:
    """First and second derivatives match finite differences (gradcheck, gradgradcheck)."""
    x = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)

    def cubed(x: Tensor) -> Tensor:
        return linear(_forward, _transpose, x) ** 3

    assert torch.autograd.gradcheck(cubed, x)
    assert torch.autograd.gradgradcheck(cubed, x)


def test_what_is_not_fixed_keeps_its_gradient() -> None:
    """A gradient in the matrix too is that of the plain product."""
    matrix, x = MATRIX.clone().requires_grad_(), torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    linear(lambda v: matrix @ v, lambda v: matrix.T @ v, x, fixed=False).sum().backward()
    assert matrix.grad is not None
    assert torch.equal(matrix.grad, torch.full((4, 3), 2.0, dtype=torch.float64))
