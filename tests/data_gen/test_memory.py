"""Freed memory stays. Truth: the operating system's count of pages that a process touches for the first
time."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from data_gen.memory import keep_freed_memory

_PAGES = """
import resource, sys
from data_gen.memory import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
def touched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(b"1") * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touched()
print(touched())
"""


def _touched_again(*arguments: str) -> int:
    """Fresh pages of a second 64 MB, in a process of its own: the setting cannot be taken back."""
    command = [sys.executable, "-c", _PAGES, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_a_second_block_finds_the_pages_of_the_first() -> None:
    assert _touched_again("keep") < 0.05 * _touched_again()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
