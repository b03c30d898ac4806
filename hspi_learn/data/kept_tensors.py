"""Tensors of single scans, computed once and kept in files beside the data set."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from data_gen.core.cache import cache_folder, keep_tensors, one_at_a_time
from data_gen.storage import DERIVED

Tensors = dict[str, Tensor]

DIGEST = "digest"
"""Name of the hash that a file holds of its own tensors."""

_log = logging.getLogger(__name__)


class KeptTensors:
    """A folder of files, one a scan, that several processes read and fill together.

    The files lie in ``<data set>/inputs/<key>``. Where the data set is read-only, or that folder a link that
    leads out of it, what is missing there is kept in the cache folder (see
    :func:`data_gen.core.cache.cache_folder`).

    Args:
        data: folder of the data set.
        key: hash of all that the tensors depend on besides the scan.
    """

    def __init__(self, data: Path, key: str) -> None:
        beside, elsewhere = data / DERIVED / key, cache_folder() / DERIVED / key
        self.folders = (beside, elsewhere)
        inside = beside.resolve().is_relative_to(data.resolve())
        self.writable = beside if inside and _can_be_made(beside) else elsewhere

    def holds(self, scan: str) -> bool:
        """Whether a file of a scan is there, damaged or not."""
        return any((folder / f"{scan}.safetensors").exists() for folder in self.folders)

    def find(self, scan: str) -> Tensors | None:
        """What is kept of a scan, known by the hash of its content; None if nothing is, or it is damaged."""
        for folder in self.folders:
            path = folder / f"{scan}.safetensors"
            if path.exists():
                found = _read(path)
                if found is not None:
                    return found
        return None

    def find_or_make(self, scan: str, make: Callable[[], Tensors]) -> Tensors:
        """What is kept of a scan, made and kept now if it is not; no two processes make the same."""
        found = self.find(scan)
        if found is not None:
            return found
        with one_at_a_time(self.writable / f"{scan}.safetensors"):
            found = self.find(scan)
            return self._made(scan, make) if found is None else found

    def make_if_free(self, scan: str, make: Callable[[], Tensors]) -> None:
        """Make and keep what is missing of a scan, unless another process is making it just now."""
        with one_at_a_time(self.writable / f"{scan}.safetensors", wait=False) as mine:
            if mine and self.find(scan) is None:
                self._made(scan, make)

    def _made(self, scan: str, make: Callable[[], Tensors]) -> Tensors:
        tensors = {name: tensor.contiguous() for name, tensor in make().items()}
        path = self.writable / f"{scan}.safetensors"
        try:
            keep_tensors({**tensors, DIGEST: _digest(tensors)}, path)
        except (OSError, SafetensorError) as error:
            _log.warning("%s could not be written (%s); it will be computed again", path, error)
        return tensors


def fingerprint(*parts: Tensor) -> str:
    """A hash of the content of tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tensors | None:
    """The tensors of a file; None, and a warning, if they are not those that were written."""
    try:
        tensors = load_file(path)
        digest = tensors.pop(DIGEST)
    except (OSError, SafetensorError, KeyError) as error:
        _log.warning("%s cannot be read (%s); it is computed again", path, error)
        return None
    if not torch.equal(digest, _digest(tensors)):
        _log.warning("%s was changed after it was written; it is computed again", path)
        return None
    return tensors


def _digest(tensors: Tensors) -> Tensor:
    """The hash of tensors and of their names, as a tensor of bytes."""
    names = torch.tensor(list(" ".join(sorted(tensors)).encode()), dtype=torch.uint8)
    whole = fingerprint(names, *(tensors[name] for name in sorted(tensors)))
    return torch.tensor(list(bytes.fromhex(whole)), dtype=torch.uint8)


def _can_be_made(folder: Path) -> bool:
    """Whether files can be written to a folder, which may not be there yet."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK)
