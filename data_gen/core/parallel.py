"""Work shared among all cores of the machine, with its progress told where it takes long."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Argument = TypeVar("Argument")
Result = TypeVar("Result")

QUIET_S = 5.0
"""Work that takes less is not told of; where no one watches, a line is written no more often than this."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_all_cores(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], most: int | None = None
) -> Iterator[Result]:
    """``function`` of each argument, on all cores, in the arguments' order.

    Each call runs on one thread and torch uses no others within it, so that no result depends on the number
    of cores: torch shares out long sums among its threads, which changes their last digits. No gradient is
    recorded.

    Args:
        function: does most of its work outside Python (tensors), as threads share the interpreter.
        arguments: arguments of the calls.
        most: calls at once, at most, if memory does not suffice for one on each core.

    Yields:
        The results, as soon as those before them are there.
    """
    calls = list(arguments)
    before = torch.get_num_threads()

    @torch.no_grad()
    def called(argument: Argument) -> Result:
        return function(argument)

    try:
        torch.set_num_threads(1)
        workers = min(cores(), len(calls), most or len(calls))
        if workers < 2:
            yield from map(called, calls)
            return
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(called, calls)
    finally:
        torch.set_num_threads(before)


def end_with_parent() -> None:
    """Have this process end when the one that started it does, were that killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def told(title: str, total: int, quiet_s: float = QUIET_S) -> Iterator[Callable[[], None]]:
    """Tells on stderr how far work has come, once it takes longer than ``quiet_s``, and how long it took.

    A bar on a terminal, otherwise a line now and then.

    Args:
        title: what is being done.
        total: steps.
        quiet_s: nothing is told before, in s.

    Yields:
        A function to call after each step.
    """
    began = time.monotonic()
    shown = _bar if sys.stderr.isatty() else _lines
    with shown(title, total, quiet_s) as advance:
        yield advance
    took = time.monotonic() - began
    if took >= quiet_s:
        print(f"{title}: {total} in {took:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def _lines(title: str, total: int, quiet_s: float) -> Iterator[Callable[[], None]]:
    """A line no more often than every ``quiet_s``."""
    began = last = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, last
        done, now = done + 1, time.monotonic()
        if now - last >= quiet_s and done < total:
            last = now
            print(f"{title}: {done} of {total} ({now - began:.0f} s)", file=sys.stderr, flush=True)

    yield advance


@contextmanager
def _bar(title: str, total: int, quiet_s: float) -> Iterator[Callable[[], None]]:
    """A bar on the terminal, from ``quiet_s`` on."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=total)
    show = threading.Timer(quiet_s, bar.start)
    show.daemon = True
    show.start()
    try:
        yield lambda: bar.advance(task)
    finally:
        show.cancel()
        bar.stop()
