"""Schemas of config nodes, derived from the signature of what the node calls."""

from __future__ import annotations

import enum
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from data_gen.core.errors import UserError


def _is_node(value: dict[str, Any]) -> dict[str, Any]:
    if "_target_" not in value:
        raise PydanticCustomError("node", "Input should be a node with _target_")
    return value


Node = Annotated[dict[str, Any], AfterValidator(_is_node)]
"""A part of a config that names its target: what stands where code expects an object."""

Threads = Annotated[int, Field(ge=1, le=1024)]
"""Threads of a process; more only wait for each other, and no system starts any number of them."""

_PLAIN = (int, float, str, bool, type(None), Path, timedelta)
_GENERIC = {Iterable: Sequence, Collection: Sequence}


class Parameter(typing.NamedTuple):
    """What a target accepts under one key."""

    adapter: TypeAdapter[Any]
    required: bool
    writable: bool
    """Whether a YAML file can hold the value; an object can also be handed over by the program."""


@cache
def parameters_of(target: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The parameters of a callable, by name; ``*args`` and ``**kwargs`` are no keys of a config."""
    hints = _hints(target)
    found = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        written = _as_written(hints.get(parameter.name, Any))
        required = parameter.default is parameter.empty
        found[parameter.name] = Parameter(TypeAdapter(written), required, written is not Node)
    return found


def checked_value(parameter: Parameter, value: Any, key: str) -> Any:
    """The value in the type that the target expects: a list becomes a tuple where one is asked for.

    Raises:
        UserError: the value has another type.
    """
    try:
        # Strict JSON: a list may become a tuple and a string a path, but "3" is no number and 1 is no truth.
        return parameter.adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        at = [key, *(str(part) for part in first["loc"] if _is_position(part, value))]
        if first["type"] == "missing":
            raise UserError(f"{'.'.join(at)} is not given; it needs a value") from None
        needs = [_needed(e["msg"]) for e in error.errors()]
        wrong = first["input"]
        raise UserError(
            f"{'.'.join(at)} is {wrong!r}; it needs {' or '.join(dict.fromkeys(needs))}"
        ) from None


def _needed(message: str) -> str:
    """What would be right, from a message of pydantic."""
    told = re.sub(r"^\w+ should have (.*) after validation, not \d+$", r"to have \1", message)
    return re.sub(r"^(?=greater|less)", "to be ", told.removeprefix("Input should be "))


def unknown_key(key: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a key that nothing knows, with the nearest key that exists."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"it needs one of {', '.join(names) or 'no keys'}"
    return UserError(f"{join(key, name)} is not a known key; {hint}")


def join(key: str, name: object) -> str:
    """Dotted path of a key below another."""
    return f"{key}.{name}" if key else str(name)


def _is_position(part: object, value: Any) -> bool:
    """Whether a part of pydantic's location is a key or an index of the value, not a branch of a union."""
    return isinstance(part, int) or (isinstance(value, dict) and part in value)


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as types; what cannot be resolved at run time is Any."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        space = getattr(inspect.unwrap(function), "__globals__", {})
        raw = inspect.get_annotations(inspect.unwrap(function))
        return {name: _evaluated(hint, space) for name, hint in raw.items()}


def _evaluated(hint: Any, space: dict[str, Any]) -> Any:
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__={"x": hint}), space, include_extras=True
        )["x"]
    except (NameError, TypeError, SyntaxError):
        return Any


def _as_written(annotation: Any) -> Any:
    """The annotation as a YAML file can fill it: objects become nodes that name their target."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _PLAIN or annotation == Node or origin is Literal:
        return annotation
    if annotation in (Any, object) or isinstance(annotation, (str, TypeVar)):
        return Any
    if origin is Annotated:
        written = _as_written(arguments[0])
        return Annotated[(written, *annotation.__metadata__)] if written in _PLAIN else written
    if origin in (Union, types.UnionType):
        return Union[tuple(_as_written(a) for a in arguments)]  # noqa: UP007 (built at run time)
    if isinstance(annotation, type) and issubclass(annotation, (enum.Enum, os.PathLike)):
        return Path if issubclass(annotation, os.PathLike) else annotation
    if origin is os.PathLike:
        return Path
    container = origin or annotation
    if container in (list, tuple, set, frozenset, dict, Sequence, Mapping, Iterable, Collection):
        container = _GENERIC.get(container, container)
        kept = tuple(a if a is Ellipsis else _as_written(a) for a in arguments)
        return container[kept] if kept else container
    return Node
