"""The sparse matrix against its dense self."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.projector.sparse import SparseMatrix, transposed

DENSE = torch.tensor(
    [[0.0, 2.0, 0.0], [1.0, 0.0, -3.0], [0.0, 0.0, 0.0], [4.0, 0.5, 0.0]], dtype=torch.float64
)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def matrix() -> SparseMatrix:
    stored = DENSE.to_sparse_csr()
    start, column = stored.crow_indices().to(torch.int32), stored.col_indices().to(torch.int32)
    return SparseMatrix(start, column, stored.values(), DENSE.shape[1], at_once=2)


def test_products(matrix):
    """Forward, transposed and selected rows, more dense columns than are taken at once (1e-12)."""
    right, left = _random(3, 5), _random(4, 5)
    torch.testing.assert_close(matrix.times(right), DENSE @ right, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(matrix.transpose_times(left), DENSE.T @ left, rtol=1e-12, atol=1e-12)
    rows = torch.tensor([3, 0])
    torch.testing.assert_close(matrix.select(rows).times(right), DENSE[rows] @ right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("asked", ["base", "dense", "both", "neither"])
def test_sums(matrix, asked):
    """Base and product, whether gradients are asked for or the base is given up; gradients are exact."""
    base, right = _random(4, 5), _random(3, 5)
    expected = base + DENSE @ right
    base.requires_grad_(asked in ("base", "both"))
    right.requires_grad_(asked in ("dense", "both"))
    if asked != "neither":
        assert torch.autograd.gradcheck(lambda b, r: matrix.added(b, r), (base, right))
    torch.testing.assert_close(matrix.added(base, right).detach(), expected, rtol=1e-12, atol=1e-12)


def test_transpose(matrix):
    """Columns rise within each row; whole parts are the matrix itself, others are picked."""
    start, column, value = transposed(matrix.start, matrix.column, matrix.value, matrix.columns)
    assert start.tolist() == [0, 2, 4, 5]
    assert column.tolist() == [1, 3, 0, 3, 1]
    assert value.tolist() == [1.0, 4.0, 2.0, 0.5, -3.0]
    assert start.dtype == column.dtype == torch.int32
    assert matrix.part(torch.arange(4)) is matrix
    assert matrix.part(torch.tensor([1, 0, 2, 3])) is not matrix


@pytest.mark.parametrize("product", ["times", "transpose_times", "added"])
def test_another_number_type_is_told(matrix, product):
    """float32 before a matrix of float64: one sentence with both types and how to convert."""
    right = torch.ones(4 if product == "transpose_times" else 3, 2)
    given = (torch.ones(4, 2), right) if product == "added" else (right,)
    with pytest.raises(
        UserError, match=r"are float32, but the system matrix holds float64; convert them by \.to"
    ):
        getattr(matrix, product)(*given)
