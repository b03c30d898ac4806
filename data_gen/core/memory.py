"""Memory of the process: what it may plan with, and freed memory that it keeps for its next allocation.

What a config or a file asks for is estimated before it is allocated, and refused in a sentence with the
estimate where it is more than the machine has (or than ``HSPI_MEMORY_GB`` says).

A projection of a whole spectrum takes and frees hundreds of megabytes at every call. By default the C
library returns large blocks to the system, which has to clear every page again at the next call: up to a
third of the time (docs/results/physics_speed.md).
"""

from __future__ import annotations

import ctypes
import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from data_gen.core.errors import UserError

LIMIT_VARIABLE = "HSPI_MEMORY_GB"
"""Environment variable with the memory that may be planned with, in GB (1e9 bytes); else the machine's."""

PROCESS_BYTES = 300e6
"""Memory of a process that has done no more than load Python and torch; it varies with their versions."""

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux tells the limit of a container."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of glibc's ``malloc.h``; see ``man 3 mallopt``."""

KEPT_BYTES = 2**31 - 1
"""Free memory beyond so much at the heap's end is given back; the most that ``mallopt`` takes."""


def memory_limit_bytes() -> float:
    """Memory that may be planned with: of the environment's :data:`LIMIT_VARIABLE`, else the machine's.

    Raises:
        UserError: the environment's is no positive number.
    """
    given = os.environ.get(LIMIT_VARIABLE)
    if not given:
        return _machine_bytes()
    try:
        limit_gb = float(given)
    except ValueError:
        limit_gb = math.nan
    if not limit_gb > 0:
        raise UserError(f"{LIMIT_VARIABLE} is {given!r}; it needs a number of GB above 0")
    return limit_gb * 1e9


def check_memory(needed_bytes: float, what: str) -> None:
    """Refuse what needs more memory than may be planned with; to be called before it is allocated.

    Args:
        needed_bytes: estimate.
        what: key and value, or file, that asks for it: the beginning of the sentence.

    Raises:
        UserError: it needs more.
    """
    limit = memory_limit_bytes()
    if not needed_bytes <= limit:
        needed_gb = min(needed_bytes, 1e300) / 1e9
        raise UserError(
            f"{what} needs about {needed_gb:.3g} GB of memory, and {limit / 1e9:.3g} GB may be used; "
            f"it needs to be smaller, or {LIMIT_VARIABLE} in the environment larger"
        )


@cache
def _machine_bytes() -> float:
    """Memory of the machine, or of the container that the process runs in; infinite where nobody tells."""
    found = [math.inf]
    with suppress(AttributeError, ValueError, OSError):  # not on every system
        found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    for file in _CGROUPS:
        try:
            found.append(float(file.read_text()))  # "max" where there is no limit
        except (OSError, ValueError):
            continue
    return min(found)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, 2 GB of it or so, for its next allocation.

    For programs that allocate alike again and again; call it before the first of them. Processes that this
    one starts need a call of their own.

    Returns:
        Whether the C library does so; only glibc has the setting, and elsewhere nothing changes.
    """
    library = _glibc()
    if library is None:
        return False
    kept = bool(library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
    return kept and bool(library.mallopt(_M_MMAP_MAX, 0))


def give_back_freed_memory() -> None:
    """Give all free memory back to the system, after work that is done once and needed more than the rest."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (of glibc alone)
    except (AttributeError, OSError, TypeError):
        return None
    return library
