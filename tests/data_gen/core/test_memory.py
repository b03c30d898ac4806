"""Freed memory stays. Truth: the operating system's count of pages that a process touches for the first
time."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from data_gen.core.memory import keep_freed_memory

_PAGES = """
import resource, sys
from data_gen.core.memory import give_back_freed_memory, keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"1") * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touched()
if "give_back" in sys.argv:
    give_back_freed_memory()
print(touched())
"""


def _touched_again(*arguments: str) -> int:
    """Fresh pages of a second 64 MB, in a process of its own: the setting cannot be taken back."""
    command = [sys.executable, "-c", _PAGES, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_second_block_finds_the_pages_of_the_first() -> None:
    assert _touched_again("keep") < 0.05 * _touched_again()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_what_is_given_back_is_fresh_again() -> None:
    assert _touched_again("keep", "give_back") > 0.9 * _touched_again()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
