"""Linear maps whose gradient is their transpose, results recomputed in the backward pass, and full
precision.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Map = Callable[[Tensor], Tensor]


def linear(forward: Map, transpose: Map, x: Tensor, *, fixed: bool = True) -> Tensor:
    """``forward(x)``, whose gradient is ``transpose`` of the gradient.

    Args:
        forward: linear in its argument.
        transpose: transpose of ``forward``.
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


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def recomputed(function: Callable[..., Result], *inputs: object, needed: bool) -> Result:
    """``function(*inputs)``, recomputed in the backward pass instead of stored (gradient checkpointing).

    Only if ``needed`` (a gradient is asked for): the plain call is faster, and avoids seconds of imports.
    """
    if not (needed and torch.is_grad_enabled()):
        return function(*inputs)
    result: Result = checkpoint(function, *inputs, use_reentrant=False)
    return result


AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")
"""Kinds of devices on which torch may compute in half precision of itself."""


def in_full_precision(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """``function`` as it is outside of ``torch.autocast``: a decorator.

    Counts span more decades than half precision has digits, and torch has no sparse product in it. Tensors
    given in half precision, as a network hands them on, become float32 first.
    """

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with ExitStack() as off:
            for kind in AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(kind):
                    off.enter_context(torch.autocast(kind, enabled=False))
            full = {name: _at_least_float32(value) for name, value in kwargs.items()}
            return function(*map(_at_least_float32, args), **full)

    return call


def _at_least_float32(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value
