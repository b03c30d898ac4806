"""Wall-clock times and memory of computations in this process."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch

_COPIED = 2**30
"""Largest number of bytes copied to measure the speed of copying."""


def best_s(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of a few runs, in s, after one warm-up run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def copy_s(size: int) -> float:
    """Time to copy this many bytes, in s, extrapolated from at most the first GB."""
    here = torch.ones(max(1, min(size, _COPIED) // 4), dtype=torch.float32)
    there = torch.empty_like(here)
    return best_s(lambda: there.copy_(here), 5) * size / (4 * len(here))


def peak_gb() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
