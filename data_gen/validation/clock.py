"""Times of work on this machine, in this run."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch

_COPIED = 2**30
"""Most bytes that are copied to learn how fast copying is."""


def best_s(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of a few runs, in s; the first one, which warms up, does not count."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def copy_s(size: int) -> float:
    """Time to copy this many bytes, told from the first GB of them."""
    here = torch.ones(max(1, min(size, _COPIED) // 4), dtype=torch.float32)
    there = torch.empty_like(here)
    return best_s(lambda: there.copy_(here), 5) * size / (4 * len(here))


def peak_gb() -> float:
    """Most memory that this process has held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
