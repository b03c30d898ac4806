"""Computed tensors kept on disk between runs, by a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_gen.core.memory import give_back_freed_memory

FOLDER_VARIABLE = "HSPI_CACHE_DIR"

TOLD_AFTER_S = 5.0
"""A process that waits longer for what another one computes says so."""

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder of cached tensors: $HSPI_CACHE_DIR, else ~/.cache/hspi-learn."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "hspi-learn")


def content_key(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Hash of plain data and of tensors, bit by bit: 24 hex digits.

    Args:
        numbers: what JSON can hold; a material is part of it by density and mass fractions
            (:func:`data_gen.materials.composition`), since its name says nothing of them.
        tensors: by name; on any device.
    """
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:24]


def cached(folder: Path, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors kept under ``key``; computed and kept now if there are none that can be read.

    Of processes that want the same tensors at once, one computes them and the others wait for it. Where
    nothing can be written, they are computed and a warning is logged.

    Args:
        folder: folder of the files.
        key: see :func:`content_key`.
        make: computes the tensors, by name.

    Returns:
        The tensors on the CPU if they were read, and as ``make`` returned them if they were computed.
    """
    path = folder / f"matrix-{key}.safetensors"  # whatever they are: another name would lose what is kept
    if path.exists():
        with suppress(OSError, SafetensorError):
            return load_file(path)
    with one_at_a_time(path):
        if path.exists():  # by now
            try:
                return load_file(path)
            except (OSError, SafetensorError) as error:
                _log.warning("%s cannot be read (%s); it is computed again", path, error)
        tensors = make()
        give_back_freed_memory()
        try:
            keep_tensors(tensors, path)
        except (OSError, SafetensorError) as error:  # of a full disk safetensors tells in its own way
            _log.warning(
                "computed tensors could not be kept in %s (%s); they will be computed again", folder, error
            )
        return tensors


def keep_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors to a file that appears whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
        SafetensorError: the disk is full.
    """
    unfinished = path.parent / f"{path.name}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, unfinished)
        unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(path: Path, wait: bool = True) -> Iterator[bool]:
    """A lock on a file that is being made, for the block: one thread of one process holds it at a time.

    Args:
        path: path of the file; its lock lies beside it meanwhile.
        wait: whether to wait until the lock is free; if False the block runs at once, with the lock or
            without.

    Yields:
        True if this caller holds the lock, or if the file system has no locks; False if another one holds it.
    """
    lock = FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        entered = _entered(lock, path, wait)
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield entered
    finally:
        if entered:
            # Whoever waits for this lock gets it all the same, and then finds what has been made.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()


def _entered(lock: FileLock, path: Path, wait: bool) -> bool:
    """Take a lock, and tell if that takes long; or only if it is free."""
    try:
        lock.acquire(timeout=TOLD_AFTER_S if wait else 0)
    except Timeout:
        if not wait:
            return False
        _log.warning("%s is being made by another process; waiting for it", path)
        lock.acquire()
    return True
