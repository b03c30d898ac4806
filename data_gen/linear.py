"""Linear maps with a known transpose, as steps that keep nothing for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def linear(forward: Map, transpose: Map, x: Tensor, *, fixed: bool = True) -> Tensor:
    """``forward(x)``, whose gradient is ``transpose`` of the gradient.

    Args:
        forward: linear in its argument.
        transpose: of ``forward``.
        x: what it is applied to.
        fixed: whether no gradient is asked for in anything but ``x``; otherwise this is the plain call.
    """
    if not (fixed and x.requires_grad and torch.is_grad_enabled()):
        return forward(x)
    mapped: Tensor = _Linear.apply(x, forward, transpose)  # type: ignore[no-untyped-call]
    return mapped


class _Linear(torch.autograd.Function):
    """See :func:`linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Map, transpose: Map) -> Tensor:
        ctx.maps = forward, transpose
        return forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        forward, transpose = ctx.maps
        return linear(transpose, forward, grads[0]), None, None
