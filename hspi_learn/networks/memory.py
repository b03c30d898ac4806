"""Memory that training a network needs, known before any of it is allocated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory

TRAINING_BYTES = 16
"""Memory of a weight in training, float32: itself, its gradient, and the two moments of Adam."""

Network = TypeVar("Network", bound=nn.Module)


def built(make: Callable[[], Network], key: str, channels: Sequence[int]) -> Network:
    """The network that ``make`` builds, after its weights were counted on torch's device "meta".

    The random generators are left as they were, so that its first weights are those that it would have had.

    Args:
        make: builds the network.
        key: what tells its size in the config.
        channels: features that it was asked for.

    Raises:
        UserError: it cannot be built, or training it needs more memory than may be used.
    """
    told = f"{key} {list(channels)}"
    if any(number < 1 for number in channels):
        raise UserError(f"{told} needs whole numbers of 1 or more")
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            weights = sum(parameter.numel() for parameter in make().parameters())
    except (RuntimeError, OverflowError) as error:  # more numbers than a tensor can count
        raise UserError(
            f"{told} cannot be built ({str(error).splitlines()[0]}); it needs to be smaller"
        ) from error
    check_memory(TRAINING_BYTES * weights, f"training {told}, {weights} weights,")
    return make()
