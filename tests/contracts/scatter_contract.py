"""What every scatter term must hold to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from contracts.drawn import Drawn
from torch import Tensor


@dataclass
class ScatterCase(Drawn):
    """A scatter term with the shape of its activity."""

    term: Any


class ScatterContract:
    """Subclasses give ``case(dtype)``."""

    case: Callable[[torch.dtype], ScatterCase]

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
    def test_adjoint(self, dtype, tolerance):
        """<A x, y> = <x, A^T y> for signed x and y, relative to |A x| |y| (definition of the transpose)."""
        case = self.case(dtype)
        with torch.no_grad():
            state, activity = case.term.state(case.density()), case.activity()
            seen = case.term.forward(activity, state)
            values = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
            back = case.term.adjoint(values, state)
        gap = (seen.double() * values.double()).sum() - (back.double() * activity.double()).sum()
        assert seen.dtype == back.dtype == dtype
        assert float(gap.abs() / (seen.double().norm() * values.double().norm())) < tolerance

    def test_linearity(self):
        """A (2 x - 3 y) = 2 A x - 3 A y (float64, 1e-12 of the largest value)."""
        case = self.case(torch.float64)
        state, x, y = case.term.state(case.density()), case.activity(1), case.activity(2)
        both = case.term.forward(2 * x - 3 * y, state)
        apart = 2 * case.term.forward(x, state) - 3 * case.term.forward(y, state)
        assert float((both - apart).abs().max() / apart.abs().max()) < 1e-12

    def test_batch_independence(self):
        """A scan alone gives what it gives in a batch, and maps do not mix (float64, 1e-12)."""
        case = self.case(torch.float64)
        activity, density = case.activity(), case.density()
        whole = case.term.forward(activity, case.term.state(density))
        alone = case.term.forward(activity[1:, 1:], case.term.state(density[1:]))
        assert float((whole[1:, ..., 1:] - alone).abs().max() / whole.abs().max()) < 1e-12

    def test_shape(self):
        """[batch, block, g, k, map]; arrival edges rise within a class and exceed no emission energy."""
        case = self.case(torch.float64)
        seen = case.term.forward(case.activity(), case.term.state(case.density()))
        groups, classes = case.term.arrivals.kev.shape[:2]
        assert seen.shape == (case.shape[0], case.term.camera.pixel_count, groups, classes, case.shape[1])
        low, high = case.term.arrivals.kev.unbind(dim=-1)
        assert bool((low <= high).all())
        assert bool((high <= case.term.energies_kev[:, None] + 1e-9).all())

    def test_gradients(self):
        """Autograd through activity, values and density against finite differences (float64)."""
        case = self.case(torch.float64)
        density, activity = case.density().requires_grad_(), case.activity().requires_grad_()
        with torch.no_grad():
            scale = case.term.forward(activity, case.term.state(density)).abs().max()

        def forward(a: Tensor, d: Tensor) -> Tensor:
            return case.term.forward(a, case.term.state(d)) / scale

        def adjoint(v: Tensor, d: Tensor) -> Tensor:
            return case.term.adjoint(v, case.term.state(d)) / scale

        assert torch.autograd.gradcheck(forward, (activity, density), fast_mode=True)
        values = forward(activity, density).detach().requires_grad_()
        assert torch.autograd.gradcheck(adjoint, (values, density), fast_mode=True)
