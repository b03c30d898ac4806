"""Computed tensors cached on disk between runs, by a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_gen.core.memory import give_back_freed_memory

FOLDER_VARIABLE = "HSPI_CACHE_DIR"

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder of cached tensors: $HSPI_CACHE_DIR, else ~/.cache/hspi-learn."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "hspi-learn")


def content_key(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Hash of plain numbers and of tensors, bit by bit."""
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:24]


def cached(folder: Path, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors cached under ``key``; computed and cached now if there are none that can be read."""
    path = folder / f"matrix-{key}.safetensors"
    if path.exists():
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            _log.warning("%s cannot be read (%s); it is built again", path, error)
    tensors = make()
    give_back_freed_memory()
    unfinished = folder / f"{path.name}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, unfinished)
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:  # of a full disk safetensors tells in its own way
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        _log.warning("the system matrix could not be kept in %s (%s); it will be built again", folder, error)
    return tensors
