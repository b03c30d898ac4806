"""What every module must hold to that is moved to another device: no tensor stays behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from data_gen.camera import Camera

PLAIN = (str, bytes, int, float, complex, bool, type, ModuleType, torch.dtype, torch.device, torch.Generator)
OWN_DICTS = {"_parameters", "_buffers", "_modules"}
"""Where a module keeps what it is asked for by plain names."""


def left_behind(module: nn.Module, device: str) -> list[str]:
    """Names of the tensors of a module that lie elsewhere.

    Parameters and buffers are looked at, and all that attributes hold, however deep: caches, dataclasses,
    tuples, lists, mappings, other objects, partial functions and closures. Left out is the geometry of a
    camera alone: it is what modules are built from, in double precision on the CPU, and a projector that
    traces rays moves what it reads of it.
    """
    kind = torch.device(device).type
    return [path for path, tensor in _tensors(module, "", {}) if tensor.device.type != kind]


class DeviceContract:
    """Subclasses give ``module()``, a new module that was used before, so that its caches are filled."""

    module: Callable[[], nn.Module]

    def test_nothing_is_left_behind(self) -> None:
        """On torch's "meta" device, to which everything can be moved, lies all of it."""
        module = self.module()
        names = set(module.state_dict())
        assert left_behind(module.to("meta"), "meta") == []
        assert set(module.state_dict()) == names


def _tensors(value: Any, path: str, seen: dict[int, Any]) -> Iterator[tuple[str, Tensor]]:
    """All tensors that a value holds, each once, and where."""
    if value is None or isinstance(value, (*PLAIN, Camera)) or id(value) in seen:
        return
    seen[id(value)] = value  # kept, so that no other object gets its number
    if isinstance(value, Tensor):
        yield path, value
        return
    for name, part in _parts(value):
        yield from _tensors(part, f"{path}{name}", seen)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, by name."""
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, partial):
        yield from (("(function)", value.func), ("(arguments)", value.args), ("(keywords)", value.keywords))
    elif isinstance(value, MethodType):
        yield "(self)", value.__self__
    elif isinstance(value, FunctionType):
        yield from (("(closure)", cell.cell_contents) for cell in value.__closure__ or ())
    else:
        for name, part in getattr(value, "__dict__", {}).items():
            inner = part.items() if name in OWN_DICTS and isinstance(value, nn.Module) else [(name, part)]
            yield from ((f".{key}", held) for key, held in inner)
