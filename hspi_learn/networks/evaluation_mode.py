"""Evaluation mode for a while, without dropout and batch statistics; modes and chance are restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(module: object) -> Iterator[None]:
    """Evaluation mode inside of the block, and the mode of every part as it was after it.

    The global random generators of torch, on the CPU and on CUDA devices, are as they were after it, too.

    Args:
        module: the network; None, and whatever is no ``torch.nn.Module``, has no parts to set.
    """
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    training = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        with torch.random.fork_rng():
            yield
    finally:
        for part, mode in zip(parts, training, strict=True):
            part.training = mode
