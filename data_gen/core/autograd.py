"""Linear maps whose gradient is their transpose, and results recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

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


Result = TypeVar("Result")


def recomputed(function: Callable[..., Result], *inputs: object, needed: bool) -> Result:
    """``function(*inputs)``, recomputed in the backward pass instead of stored (gradient checkpointing).

    Only if ``needed`` (a gradient is asked for): the plain call is faster, and avoids seconds of imports.
    """
    if not (needed and torch.is_grad_enabled()):
        return function(*inputs)
    result: Result = checkpoint(function, *inputs, use_reentrant=False)
    return result
