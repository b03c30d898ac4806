"""What every linear model of the camera must hold to, from a bare projector to the whole forward model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import torch
from contracts.drawn import Drawn
from torch import Tensor


class Operator(Protocol):
    """A projector, or a model seen as one."""

    def attenuation(self, density: Tensor) -> Tensor: ...
    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor: ...
    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor: ...
    def subset(self, pixels: Tensor) -> Operator: ...


@dataclass
class Case(Drawn):
    """An operator with the shape of its activity and its number of pixels."""

    operator: Any
    pixels: int


class ProjectorContract:
    """Subclasses give ``case(dtype)``."""

    case: Callable[[torch.dtype], Case]

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
    def test_adjoint(self, dtype, tolerance):
        """<A x, y> = <x, A^T y> for signed x and y, relative to |A x| |y| (definition of the transpose)."""
        case = self.case(dtype)
        with torch.no_grad():
            kept = case.operator.attenuation(case.density())
            activity = case.activity()
            seen = case.operator.forward(activity, kept)
            values = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
            left = (seen.double() * values.double()).sum()
            right = (case.operator.adjoint(values, kept).double() * activity.double()).sum()
        scale = seen.double().norm() * values.double().norm()
        assert float((left - right).abs() / scale) < tolerance

    def test_linearity(self):
        """A (2 x - 3 y) = 2 A x - 3 A y (float64, 1e-12 of the largest value)."""
        case = self.case(torch.float64)
        with torch.no_grad():
            kept = case.operator.attenuation(case.density())
            x, y = case.activity(1), case.activity(2)
            both = case.operator.forward(2 * x - 3 * y, kept)
            apart = 2 * case.operator.forward(x, kept) - 3 * case.operator.forward(y, kept)
        assert float((both - apart).abs().max() / apart.abs().max()) < 1e-12

    def test_scans_of_a_batch(self):
        """Every scan of a batch is projected and back-projected as it is alone, by some pixels too."""
        case = self.case(torch.float64)
        density, activity = case.density(), case.activity()
        with torch.no_grad():
            for operator in (case.operator, case.operator.subset(torch.arange(0, case.pixels, 2))):
                kept = operator.attenuation(density)
                seen = operator.forward(activity, kept)
                back = operator.adjoint(seen, kept)
                for scan in range(len(density)):
                    one = slice(scan, scan + 1)
                    alone = operator.attenuation(density[one])
                    for found, true in (
                        (seen[one], operator.forward(activity[one], alone)),
                        (back[one], operator.adjoint(seen[one], alone)),
                    ):
                        torch.testing.assert_close(
                            found, true, rtol=1e-11, atol=1e-12 * float(true.abs().max())
                        )

    def test_subsets(self):
        """A subset has the rows of the whole, in the order asked; subsets' adjoints sum to the whole's."""
        case = self.case(torch.float64)
        order = torch.randperm(case.pixels, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            kept = case.operator.attenuation(case.density())
            whole = case.operator.forward(case.activity(), kept)
            back = case.operator.adjoint(whole, kept)
            total = torch.zeros_like(back)
            for chosen in order.split(case.pixels // 3 + 1):
                part = case.operator.subset(chosen)
                seen = part.forward(case.activity(), kept)
                torch.testing.assert_close(
                    seen, whole[:, chosen], rtol=1e-11, atol=1e-12 * float(whole.abs().max())
                )
                total = total + part.adjoint(whole[:, chosen], kept)
        torch.testing.assert_close(total, back, rtol=1e-11, atol=1e-12 * float(back.abs().max()))

    def test_gradients(self):
        """Autograd through activity, values and density against finite differences (float64)."""
        case = self.case(torch.float64)
        density = case.density().requires_grad_()
        activity = case.activity().requires_grad_()
        with torch.no_grad():
            scale = case.operator.forward(activity, case.operator.attenuation(density)).abs().max()

        def forward(a: Tensor, d: Tensor) -> Tensor:
            return case.operator.forward(a, case.operator.attenuation(d)) / scale

        def adjoint(v: Tensor, d: Tensor) -> Tensor:
            return case.operator.adjoint(v, case.operator.attenuation(d)) / scale

        assert torch.autograd.gradcheck(forward, (activity, density), fast_mode=True)
        values = forward(activity, density).detach().requires_grad_()
        assert torch.autograd.gradcheck(adjoint, (values, density), fast_mode=True)
