"""Memory for time: intermediate results computed again when a gradient asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

Result = TypeVar("Result")


def recomputed(function: Callable[..., Result], *inputs: object, needed: bool) -> Result:
    """``function(*inputs)``, computed again in the backward pass rather than kept.

    Only if ``needed``, a gradient is asked for: the plain call is faster, and spares seconds of imports.
    """
    if not (needed and torch.is_grad_enabled()):
        return function(*inputs)
    result: Result = checkpoint(function, *inputs, use_reentrant=False)
    return result
