"""Schemas of signatures: what a config may write for each kind of annotation, and what the target gets."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import pytest
from pydantic import Field
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.configs.schema import Node, checked_value, join, parameters_of

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

T = TypeVar("T")
NODE = {"_target_": "x.Y", "size": 1}


class Kind(enum.Enum):
    SOFT = "soft"
    HARD = "hard"


def target(
    whole: int,
    number: float,
    anything: Any,
    thing: Tensor,
    generic: T,
    unknown: Unknown,
    text: str | None = None,
    flag: bool = False,
    few: Annotated[int, Field(ge=2, le=4)] = 2,
    either: int | str = 1,
    mode: Literal["a", "b"] = "a",
    kind: Kind = Kind.SOFT,
    path: Path | None = None,
    place: os.PathLike[str] | str = "",
    time: timedelta | None = None,
    pair: tuple[int, str] = (1, ""),
    row: tuple[int, ...] = (),
    sequence: Sequence[float] = (),
    iterable: Iterable[int] = (),
    collection: Collection[int] = (),
    names: set[str] | None = None,
    fixed: frozenset[int] = frozenset(),
    table: Mapping[str, list[int]] | None = None,
    parts: dict[str, Tensor] | None = None,
    stages: Sequence[Callable[[int], Tensor]] = (),
    bare: list | None = None,
    *more: int,
    **others: int,
) -> None: ...


@pytest.mark.parametrize(
    ("name", "written", "given"),
    [
        ("whole", 3, 3),
        ("number", 3, 3.0),
        ("number", -2.5, -2.5),
        ("anything", {"a": [1, None]}, {"a": [1, None]}),
        ("thing", NODE, NODE),
        ("generic", [1], [1]),
        ("unknown", {"a": 1}, {"a": 1}),
        ("text", None, None),
        ("flag", True, True),
        ("few", 4, 4),
        ("either", "x", "x"),
        ("mode", "b", "b"),
        ("kind", "hard", Kind.HARD),
        ("path", "a/b", Path("a/b")),
        ("time", "PT90S", timedelta(seconds=90)),
        ("pair", [1, "x"], (1, "x")),
        ("row", [1, 2, 3], (1, 2, 3)),
        ("sequence", [1, 2.5], [1.0, 2.5]),
        ("iterable", [1], [1]),
        ("collection", [1], [1]),
        ("names", ["x", "y"], {"x", "y"}),
        ("fixed", [1], frozenset({1})),
        ("table", {"x": [1]}, {"x": [1]}),
        ("parts", {"x": NODE}, {"x": NODE}),
        ("stages", [NODE], [NODE]),
        ("bare", [1, "x", None], [1, "x", None]),
    ],
)
def test_what_a_file_may_write(name: str, written: object, given: object) -> None:
    """Each comes as the type that the annotation asks for."""
    found = checked_value(parameters_of(target)[name], written, name)
    assert found == given
    assert type(found) is type(given)


@pytest.mark.parametrize(
    ("name", "written", "told"),
    [
        ("whole", 3.0, "key is 3.0; it needs a valid integer"),
        ("whole", None, "key is None; it needs a valid integer"),
        ("number", "3", "key is '3'; it needs a valid number"),
        ("thing", 3, "key is 3; it needs an object"),
        ("thing", {"size": 1}, "key is {'size': 1}; it needs a node with _target_"),
        ("flag", "yes", "key is 'yes'; it needs a valid boolean"),
        ("few", 1, "key is 1; it needs to be greater than or equal to 2"),
        ("few", 5, "key is 5; it needs to be less than or equal to 4"),
        ("few", 2.0, "key is 2.0; it needs a valid integer"),
        ("either", 1.5, "key is 1.5; it needs a valid integer or a valid string"),
        ("mode", "c", "key is 'c'; it needs 'a' or 'b'"),
        ("pair", [1], "key.1 is not given; it needs a value"),
        ("pair", [1, "x", 2], "key is [1, 'x', 2]; it needs to have at most 2 items"),
        ("row", [1, "x"], "key.1 is 'x'; it needs a valid integer"),
        ("table", {"x": [1, "y"]}, "key.x.1 is 'y'; it needs a valid integer"),
        ("parts", {"x": {"y": 1}}, "key.x is {'y': 1}; it needs a node with _target_"),
        ("stages", [NODE, 3], "key.1 is 3; it needs an object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(name: str, written: object, told: str) -> None:
    """Key and index as far as they lead, the value, and what would be right."""
    with pytest.raises(UserError) as error:
        checked_value(parameters_of(target)[name], written, "key")
    assert str(error.value) == told


def test_which_parameters_a_config_has_to_give() -> None:
    """Those without a default, whatever they are; ``*`` and ``**`` are no keys; an object may come from the
    program."""
    found = parameters_of(target)
    assert {name for name, parameter in found.items() if parameter.required} == {
        "whole",
        "number",
        "anything",
        "thing",
        "generic",
        "unknown",
    }
    assert not {"more", "others"} & found.keys()
    assert [name for name, parameter in found.items() if not parameter.writable] == ["thing"]

    class Made:
        def __init__(self, size: int, part: Node) -> None: ...

    assert list(parameters_of(Made)) == ["size", "part"]
    assert [join("", "a"), join("a", 1), join("a.b", "c")] == ["a", "a.1", "a.b.c"]
