"""Freed memory that the process keeps for its next allocation.

A projection of a whole spectrum takes and frees hundreds of megabytes at every call. By default the C
library returns large blocks to the system, which has to clear every page again at the next call: up to a
third of the time (docs/results/physics_speed.md).
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of glibc's ``malloc.h``; see ``man 3 mallopt``."""

KEPT_BYTES = 2**31 - 1
"""Free memory beyond so much at the heap's end is given back; the most that ``mallopt`` takes."""


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
