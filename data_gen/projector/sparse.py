"""A sparse matrix stored together with its transpose, differentiable in the dense factor."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from data_gen.core.autograd import in_full_precision

# torch announces once a process that its CSR layout is in beta.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

COLUMNS_AT_ONCE = 16
"""torch's sparse product takes 1.5 times as long for 16 dense columns as for 8, and slows down with more."""


class SparseMatrix(nn.Module):
    """A CSR matrix and its transpose (a transposed CSR product is a hundred times slower).

    Args:
        start: first entry of each row, and the number of entries, [row + 1] int32.
        column: [entry] int32.
        value: [entry].
        columns: number of columns.
        transpose: the same three tensors of the transpose; None: made here.
        at_once: dense columns of one product. Few rows of long ones are read again and again; where each row
            has but a few entries, all columns at once are read in order.
    """

    def __init__(
        self,
        start: Tensor,
        column: Tensor,
        value: Tensor,
        columns: int,
        transpose: tuple[Tensor, Tensor, Tensor] | None = None,
        at_once: int = COLUMNS_AT_ONCE,
    ) -> None:
        super().__init__()
        self.at_once = at_once
        self.rows, self.columns = len(start) - 1, columns
        flipped = transpose or transposed(start, column, value, columns)
        names = ("start", "column", "value", "start_t", "column_t", "value_t")
        for name, tensor in zip(names, (start, column, value, *flipped), strict=True):
            self.register_buffer(name, tensor, persistent=False)

    start: Tensor
    column: Tensor
    value: Tensor
    start_t: Tensor
    column_t: Tensor
    value_t: Tensor

    @property
    def bytes(self) -> int:
        """Size of the matrix, one way."""
        return sum(t.numel() * t.element_size() for t in (self.start, self.column, self.value))

    def times(self, dense: Tensor) -> Tensor:
        """The product with [column, k]: [row, k]."""
        return _product(dense, self, False)

    @in_full_precision
    def added(self, base: Tensor, dense: Tensor) -> Tensor:
        """``base`` [row, k] and the product with [column, k], in one pass. ``base`` is given up for it."""
        if not (torch.is_grad_enabled() and (base.requires_grad or dense.requires_grad)):
            return base.addmm_(self._csr(False), dense)
        total: Tensor = _Sum.apply(base, dense, self)  # type: ignore[no-untyped-call]
        return total

    def transpose_times(self, dense: Tensor) -> Tensor:
        """The product of the transpose with [row, k]: [column, k]."""
        return _product(dense, self, True)

    def part(self, rows: Tensor) -> SparseMatrix:
        """:meth:`select`, or the matrix itself, nothing copied, where these are all rows in their order."""
        whole = len(rows) == self.rows and torch.equal(rows, torch.arange(self.rows, device=rows.device))
        return self if whole else self.select(rows)

    def select(self, rows: Tensor) -> SparseMatrix:
        """The matrix of these rows [k], in this order."""
        first = self.start[rows].to(torch.int64)
        count = self.start[rows + 1].to(torch.int64) - first
        start = torch.cat((count.new_zeros(1), count.cumsum(0)))
        shift = (first - start[:-1]).repeat_interleave(count)
        entry = torch.arange(len(shift), device=start.device) + shift
        return SparseMatrix(start.to(torch.int32), self.column[entry], self.value[entry], self.columns)

    def _multiply(self, dense: Tensor, flip: bool) -> Tensor:
        matrix = self._csr(flip)
        blocks = [matrix @ block.contiguous() for block in dense.split(self.at_once, dim=1)]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)

    def _csr(self, flip: bool) -> Tensor:
        if flip:
            return csr(self.start_t, self.column_t, self.value_t, self.rows)
        return csr(self.start, self.column, self.value, self.columns)


class _Product(torch.autograd.Function):
    """The product, whose gradient is the product with the stored transpose."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix, flip: bool) -> Tensor:
        ctx.matrix, ctx.flip = matrix, flip
        return matrix._multiply(dense, flip)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _product(grads[0], ctx.matrix, not ctx.flip), None, None


class _Sum(torch.autograd.Function):
    """A dense matrix and a product, in one pass."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, dense: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        return torch.addmm(base, matrix._csr(False), dense.contiguous())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return grads[0], _product(grads[0], ctx.matrix, True), None


@in_full_precision
def _product(dense: Tensor, matrix: SparseMatrix, flip: bool) -> Tensor:
    product: Tensor = _Product.apply(dense, matrix, flip)  # type: ignore[no-untyped-call]
    return product


def csr(start: Tensor, column: Tensor, value: Tensor, columns: int) -> Tensor:
    """torch's CSR matrix of the tensors that :class:`SparseMatrix` is made of."""
    with torch.sparse.check_sparse_tensor_invariants(False):  # explicitly: some releases warn otherwise
        return torch.sparse_csr_tensor(start, column, value, size=(len(start) - 1, columns))


def transposed(start: Tensor, column: Tensor, value: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """The transpose of a CSR matrix: its start, column and value, by rising column within each row.

    On the CPU by scipy's counting sort, five times as fast as sorting all entries and to the same order.
    """
    if start.device.type == "cpu":
        shape = (len(start) - 1, columns)
        flipped = csr_array((value.detach().numpy(), column.numpy(), start.numpy()), shape=shape).tocsc()
        parts = (torch.from_numpy(part) for part in (flipped.indptr, flipped.indices, flipped.data))
        first, row, moved = parts
        return first.to(torch.int32), row.to(torch.int32), moved
    row = torch.arange(len(start) - 1, dtype=torch.int32, device=start.device)
    row = row.repeat_interleave((start[1:] - start[:-1]).to(torch.int64))
    order = torch.argsort(column, stable=True)
    count = torch.bincount(column, minlength=columns)
    first = torch.cat((count.new_zeros(1), count.cumsum(0))).to(torch.int32)
    return first, row[order], value[order]
