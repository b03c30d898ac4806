"""Dead time of a channel applied to events: which of them are recorded.

Input are channels and times in s; models are paralysable and non-paralysable dead time (Knoll, Radiation
Detection and Measurement, chapter 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD_TIME_KINDS = ("paralysable", "non_paralysable")


def survivors(kind: str, channel: Tensor, time_s: Tensor, dead_time_s: float) -> Tensor:
    """True for the events [n] that occur while their channel is not dead.

    Args:
        kind: one of :data:`DEAD_TIME_KINDS`.
        channel: channel of each event, [n] int64.
        time_s: [n], in any order.
        dead_time_s: duration of the dead time after a trigger.
    """
    order = torch.argsort(time_s, stable=True)
    order = order[torch.argsort(channel[order], stable=True)]
    rule = _paralysable if kind == "paralysable" else _non_paralysable
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order] = rule(channel[order], time_s[order], dead_time_s)
    return kept


def _paralysable(channel: Tensor, time_s: Tensor, dead_time_s: float) -> Tensor:
    """An event is recorded if the previous one, recorded or not, is at least a dead time ago."""
    alone = (channel[1:] != channel[:-1]) | (time_s[1:] - time_s[:-1] >= dead_time_s)
    return torch.cat((torch.ones(min(len(channel), 1), dtype=torch.bool), alone))


def _non_paralysable(channel: Tensor, time_s: Tensor, dead_time_s: float) -> Tensor:
    """An event is recorded if the previous recorded one is at least a dead time ago.

    Each event points to the event that would be recorded next after it; the recorded events are the chain
    that starts at the first event. The chain is followed in steps of 1, 2, 4, ..., for all its events at
    once.
    """
    count = len(channel)
    step = _next_alive(channel, time_s, dead_time_s)
    kept = torch.zeros(count + 1, dtype=torch.bool)
    kept[0] = True
    for _ in range(count.bit_length()):
        kept[step[kept.nonzero().flatten()]] = True
        step = step[step]
    return kept[:count]


def _next_alive(channel: Tensor, time_s: Tensor, dead_time_s: float) -> Tensor:
    """First event after the dead time of each, [n + 1]; n stands for the end, which follows itself.

    The first event of another channel ends the dead time of the channel before it.
    """
    count = len(channel)
    following = torch.arange(1, count + 1)
    waiting = torch.arange(count)
    while len(waiting := waiting[following[waiting] < count]):
        ahead = following[waiting]
        dead = (channel[ahead] == channel[waiting]) & (time_s[ahead] - time_s[waiting] < dead_time_s)
        waiting = waiting[dead]
        following[waiting] += 1
    return torch.cat((following, torch.tensor([count])))
