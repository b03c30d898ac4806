"""What ``${...}`` in a config may stand for: other values, the time, few names of the environment.

A config is data that people pass around, and what it is filled with ends up in run folders and dashboards. So
it reads no secret of the environment, and a few lines of it cannot grow beyond the memory.
"""

from __future__ import annotations

import os
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from data_gen.core.errors import UserError
from data_gen.core.foreign_files import MOST_COST, VALUE_COST
from hspi_learn.configs.schema import join

VARIABLE = "HSPI_ALLOW_ENV"
"""Environment variable with the names of others that configs may read, separated by commas."""

_HARMLESS = frozenset(
    {"CUDA_VISIBLE_DEVICES", "HSPI_CACHE_DIR", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "WANDB_MODE"}
)
_RESOLVERS = frozenset({"hydra", "now", "oc.env", "oc.select"})
_INTERPOLATION_COST = 4 * VALUE_COST
_CALL = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:([^${}]*)\}")
_REFERENCE = re.compile(r"\$\{\s*([^${}:]*?)\s*\}")
_NO_DEFAULT = object()


def readable_names() -> frozenset[str]:
    """Names of the environment that configs may read."""
    own = (name.strip() for name in os.environ.get(VARIABLE, "").split(","))
    return _HARMLESS | {name for name in own if name}


def restrict_environment() -> None:
    """Let ``oc.env`` of every config of this process read :func:`readable_names` alone."""
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)


def _environment(name: str, default: Any = _NO_DEFAULT) -> str | None:
    """The resolver ``oc.env``, whose default is a text or null as OmegaConf's own is."""
    _check_readable(name, "a config")
    found = os.environ.get(name)
    if found is not None:
        return found
    if default is _NO_DEFAULT:
        raise UserError(f"{name} is not set in the environment, and a config reads it; set it")
    return None if default is None else str(default)


def _check_readable(name: str, key: str) -> None:
    if name not in readable_names():
        others = ",".join([*filter(None, [os.environ.get(VARIABLE)]), name])
        raise UserError(
            f"{key} reads {name} of the environment, which configs may not; "
            f"if you trust the config with it, set {VARIABLE}={others} in the environment"
        )


def check_interpolations(config: DictConfig) -> None:
    """Check what a whole composed config would be filled with, before any of it is.

    Raises:
        UserError: an interpolation calls what it may not, refers to itself, or lets the config grow beyond
            what one may hold.
    """
    try:
        whole = OmegaConf.to_container(config, resolve=False)
        size = _Filled(whole).size(())
    except RecursionError as error:
        raise UserError("a config fills in values too many levels deep; it needs fewer") from error
    if size > MOST_COST:
        raise UserError(
            f"the config stands for about {size} characters, ${{...}} filled in and each value counted as "
            f"{VALUE_COST}; it needs {MOST_COST} at most"
        )


def check_filled(value: Any, key: str = "") -> None:
    """Refuse ``${`` in what was filled in already: it would be filled in once more, unchecked.

    Raises:
        UserError: there is one.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            check_filled(item, join(key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_filled(item, join(key, index))
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{key} is {value[:80]!r} once it is filled in; a value may not hold ${{ then")


KeyPath = tuple[str, ...]


class _Filled:
    """Sizes of the parts of a config once they are filled in, found without filling in anything.

    Args:
        whole: the config as plain data, interpolations as they are written.
    """

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self._sizes: dict[KeyPath, int | None] = {}

    def size(self, path: KeyPath) -> int:
        """Characters that the value at a path stands for, each value counted as :data:`VALUE_COST` more."""
        known = self._sizes.get(path, 0)
        if known is None:
            raise UserError(f"{'.'.join(path)} is filled in with itself; it needs a value of its own")
        if known:
            return known
        self._sizes[path] = None
        size = self._sizes[path] = self._sized(path, self._at(path))
        return size

    def _sized(self, path: KeyPath, value: Any) -> int:
        if isinstance(value, dict):
            return VALUE_COST + sum(self.size((*path, str(name))) for name in value)
        if isinstance(value, list):
            return VALUE_COST + sum(self.size((*path, str(index))) for index in range(len(value)))
        if not isinstance(value, str):
            return VALUE_COST
        size = VALUE_COST + len(value)
        for reference in _references(value, ".".join(path)):
            target = self._absolute(reference, path)
            size += _INTERPOLATION_COST + (0 if target is None else self.size(target))
        return size

    def _at(self, path: KeyPath) -> Any:
        value = self.whole
        for name in path:
            value = _child(value, name)
        return value

    def _absolute(self, reference: str, path: KeyPath) -> KeyPath | None:
        """The path that a reference names, as far as it leads; None if there is no such value."""
        up = len(reference) - len(reference.lstrip("."))
        target: KeyPath = path[: max(0, len(path) - up)] if up else ()
        for name in re.findall(r"[^.\[\]]+", reference):
            value = self._at(target)
            if isinstance(value, str):  # stands for a part of the config itself, all of which is counted
                return target
            if _child(value, name) is None:
                return None
            target = (*target, name)
        return target


def _child(value: Any, name: str) -> Any:
    """What a mapping or a list holds under a name; None if it does not."""
    if isinstance(value, dict):
        return next((item for key, item in value.items() if str(key) == name), None)
    if isinstance(value, list) and name.isdigit() and int(name) < len(value):
        return value[int(name)]
    return None


def _references(text: str, key: str) -> list[str]:
    """Every reference of a text to other values, after checking all that it calls."""
    found = []
    for name, arguments in _CALL.findall(text):
        first = arguments.split(",")[0].strip(" '\"")
        if name not in _RESOLVERS:
            raise UserError(
                f"{key} calls ${{{name}:}}; configs may only call {', '.join(sorted(_RESOLVERS))}"
            )
        if name == "oc.env":
            _check_readable(first, key)
        elif name != "now":
            found.append(f"hydra.{first}" if name == "hydra" else first)
    left = _CALL.sub("", text)
    found += _REFERENCE.findall(left)
    if "${" in _REFERENCE.sub("", left):
        raise UserError(f"{key} is {text[:80]!r}; configs may not put one ${{...}} into another")
    return found
