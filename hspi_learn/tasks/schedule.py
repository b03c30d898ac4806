"""Learning rate, ramps of weights, averages and mirror axes, as functions of the number of the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_up_cosine(optimizer: Optimizer, steps: int, warm_up: float = 0.05) -> LambdaLR:
    """A learning-rate schedule: a short linear rise, then a cosine down to zero at ``steps``.

    Args:
        optimizer: optimizer whose own learning rates are the highest of the schedule.
        steps: updates of the whole training.
        warm_up: share of the updates over which the rate rises.
    """
    return LambdaLR(optimizer, partial(cosine_rate, steps=steps, warm_up=warm_up))


def cosine_rate(done: int, steps: int, warm_up: float = 0.05) -> float:
    """Share of the highest learning rate: a short linear rise, then a cosine down to zero at ``steps``."""
    rise = max(1, round(warm_up * steps))
    if done < rise:
        return (done + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - rise) / max(1, steps - rise))))


def ramp(progress: float, start: float) -> float:
    """0 until ``start``, then a linear rise to 1 at twice ``start``; both are shares of the training."""
    if progress < start:
        return 0.0
    return min(1.0, (progress - start) / start) if start > 0 else 1.0


def averaging_decay(updates: int, decay: float) -> float:
    """The share of a running average that an update keeps: (1 + n) / (10 + n) of n before, then ``decay``.

    The first weights would stay in the average of a short training otherwise. Source: the warm-up of
    ``tf.train.ExponentialMovingAverage`` (``num_updates``).
    """
    return min(decay, (1 + updates) / (10 + updates))


def mirrored_axes(axes: Sequence[int], seed: int, step: int) -> tuple[int, ...]:
    """The axes to mirror in a step, each half of the time; the same for the same seed and step."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
    heads = torch.rand(len(axes), generator=generator) < 0.5
    return tuple(axis for axis, mirrored in zip(axes, heads.tolist(), strict=True) if mirrored)
