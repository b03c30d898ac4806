"""Weights in safetensors and checkpoints that hold nothing but tensors and plain values."""

# ruff: noqa: ARG002 (the signatures are Lightning's)
from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.files import whole_file
from data_gen.core.foreign_files import check_archive


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Publish weights as safetensors."""
    with whole_file(path) as part:
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, part)


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a safetensors file.

    Raises:
        UserError: the file is missing or no safetensors.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; it needs the weights of a finished run")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); it needs to be a safetensors file") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint, read without running anything in it.

    Raises:
        UserError: the file is missing, truncated, holds more than tensors and plain values, or claims more
            data than it holds.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; it needs to be the checkpoint of a run")
    try:
        check_archive(path, stored=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses about foreign files; the error says enough
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        _check_tensors(checkpoint, path)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, so it was not read; "
            "a checkpoint of this program holds nothing else"
        ) from error
    except Exception as error:  # a crafted pickle fails in as many ways as there are types
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is truncated or damaged ({first}); it needs to be a whole checkpoint"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} is no training checkpoint; it needs to be one that this program wrote")
    return checkpoint


def _check_tensors(content: Any, path: Path) -> None:
    """Refuse tensors that claim more numbers than are stored: a copy of them would fill the memory."""
    seen, waiting = set(), [content]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            dense = value.layout == torch.strided and value.device.type == "cpu"
            if not dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise UserError(
                    f"{path} holds a tensor of shape {list(value.shape)}, not all of whose numbers are "
                    "there; it needs to be a whole checkpoint"
                )
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


class AtomicCheckpoints(CheckpointIO):
    """Lightning's reading and writing of checkpoints: whole or not at all, tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; a kill while it is being written leaves the one before."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part:
            torch.save(checkpoint, part)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint; see :func:`load_checkpoint`."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
