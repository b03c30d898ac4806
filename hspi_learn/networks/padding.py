"""Grids made divisible by the strides of a network, and cut back after it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def padded(image: Tensor, multiple: int) -> Tensor:
    """Zeros after the end of each axis of [batch, channel, ...] up to a multiple of ``multiple``."""
    missing = [(-n) % multiple for n in image.shape[2:]]
    pairs = [pad for n in reversed(missing) for pad in (0, n)]
    return functional.pad(image, pairs)


def cropped(image: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading part of this shape (z, y, x), or (row, column)."""
    for axis, edge in zip(range(-len(shape), 0), shape, strict=True):
        image = image.narrow(axis, 0, edge)
    return image
