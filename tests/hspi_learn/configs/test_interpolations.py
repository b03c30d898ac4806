"""What a config would be filled with, counted before it is: against OmegaConf, which fills it in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from data_gen.core.errors import UserError
from hspi_learn.configs import interpolations
from hspi_learn.configs.interpolations import check_filled, check_interpolations, restrict_environment

LONG = "y" * 5000


def size_of(config: Any) -> int:
    """The size that a config is counted as: the least limit under which it passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolations, "MOST_COST", -1)
        with pytest.raises(UserError, match=r"the config stands for about \d+ characters") as told:
            check_interpolations(OmegaConf.create(config))
    return int(str(told.value).split("about ")[1].split()[0])


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({}, 50),
        ({"a": None}, 50 + 50),
        ({"a": 12345}, 50 + 50),
        ({"a": "four"}, 50 + 54),
        ({"a": [1, "b", [True]]}, 50 + 50 + 50 + 51 + 50 + 50),
        ({"a": {"b": "c"}}, 50 + 50 + 51),
        ({"a": "four", "b": "${a}"}, 50 + 54 + 54 + 200 + 54),
        ({"a": "four", "b": "x${a}${a}"}, 50 + 54 + 59 + 2 * (200 + 54)),
        ({"a": "four", "b": "${a}", "c": "${b}"}, 50 + 54 + (54 + 200 + 54) + (54 + 200 + 54 + 200 + 54)),
        ({"a": [7, "four"], "b": "${a}"}, 50 + (50 + 50 + 54) + 54 + 200 + (50 + 50 + 54)),
        ({"a": "${nothing}"}, 50 + 60 + 200),
        ({"a": [1], "b": "${a.1}"}, 50 + (50 + 50) + 56 + 200),
        ({"a": [1], "b": "${a.x}"}, 50 + (50 + 50) + 56 + 200),
        ({"a": "${now:%Y}"}, 50 + 59),
    ],
)
def test_sizes_by_hand(config: dict[str, Any], size: int) -> None:
    """A value counts 50 and a text its characters more; a reference 200 and all that it stands for."""
    assert size_of(config) == size


def test_a_config_may_be_as_large_as_the_limit() -> None:
    """A mapping and a text count 100 together: 999,900 characters pass, and one more is told with the
    limit."""
    check_interpolations(OmegaConf.create({"a": "x" * 999_900}))
    with pytest.raises(
        UserError, match=r"about 1000001 characters.* counted as 50; it needs 1000000 at most"
    ):
        check_interpolations(OmegaConf.create({"a": "x" * 999_901}))


@pytest.mark.parametrize(
    "reference",
    [
        "${top}",
        "${ top }",
        "${part.inner}",
        "${part[inner]}",
        "${list.1}",
        "${list[1]}",
        "${table.0.cell}",
        "${table[0].cell}",
        "${.near}",
        "${..deep.near}",
        "${...top}",
        "${..around.text}",
        "${oc.select:top}",
        "${oc.select:'top',none}",
        "a ${top} b",
        "${again}",
    ],
)
def test_what_every_kind_of_reference_stands_for_is_counted(reference: str) -> None:
    """Of a text of 5,000 characters: OmegaConf fills it in, and the size grows by it."""
    config = {
        "top": LONG,
        "again": "${top}",
        "part": {"inner": LONG},
        "list": ["x", LONG],
        "table": [{"cell": LONG}],
        "a": {"around": {"text": LONG}, "deep": {"near": LONG, "here": reference}},
    }
    filled: Any = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    assert LONG in filled["a"]["deep"]["here"]
    plain = {**config, "a": {"around": {"text": LONG}, "deep": {"near": LONG, "here": ""}}}
    assert size_of(config) - size_of(plain) >= 5000


@given(
    st.recursive(
        st.integers() | st.text("ab", max_size=9) | st.sampled_from(["${x}", "${y}", "${y.k}", "-${x}${x}-"]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_config_grows_beyond_its_size(part: Any) -> None:
    """Property: what OmegaConf makes of it is no longer in print than it was counted as."""
    config = {"x": "text", "y": {"k": [1, "${x}"]}, "part": part}
    filled = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    assert len("".join(_texts(filled))) <= size_of(config)


def _texts(value: Any) -> list[str]:
    """Every text in plain data."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"a": "${a}"}, "a"),
        ({"a": {"b": "${a}"}}, "a"),
        ({"a": [1, "${a}"]}, "a"),
        ({"a": {"b": "${.c}", "c": "x${.b}"}}, "a.b"),
    ],
)
def test_values_that_hold_themselves_are_told(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key} is filled in with itself; it needs a value of its own"):
        check_interpolations(OmegaConf.create(config))


def test_what_was_filled_in_holds_no_reference() -> None:
    """Anywhere in it, told with its place and no more than 80 characters of it; a lone dollar is a dollar."""
    check_filled({"a": ["$", "{", "$ {x}", 3, None]})
    with pytest.raises(UserError, match=r"^task\.a\.1\.b is '\$\{x\}' once it is filled in"):
        check_filled({"a": [0, {"b": "${x}"}]}, "task")
    with pytest.raises(UserError, match=rf"^a is '{'z' * 80}' once"):
        check_filled({"a": "z" * 80 + "${x}"})


def test_the_environment_is_read_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable, a default where it is not set, null as a default, and a sentence where there is none; an
    empty variable is one."""
    restrict_environment()
    monkeypatch.setenv("HSPI_ALLOW_ENV", "SET_HERE,NOT_SET")
    monkeypatch.setenv("SET_HERE", "")
    monkeypatch.delenv("NOT_SET", raising=False)
    config = OmegaConf.create(
        {
            "a": "${oc.env:SET_HERE}",
            "b": "${oc.env:NOT_SET,7}",
            "c": "${oc.env:NOT_SET,null}",
            "d": "${oc.env:SET_HERE,x}",
        }
    )
    assert OmegaConf.to_container(config, resolve=True) == {"a": "", "b": "7", "c": None, "d": ""}
    with pytest.raises(
        Exception, match="NOT_SET is not set in the environment, and a config reads it; set it"
    ):
        OmegaConf.to_container(OmegaConf.create({"a": "${oc.env:NOT_SET}"}), resolve=True)


def test_more_names_are_added_to_those_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has to set is told whole, with what is set already."""
    config = OmegaConf.create({"a": {"b": "${oc.env:SECRET}"}})
    for own, told in (("", "SECRET"), ("ONE,TWO", "ONE,TWO,SECRET")):
        monkeypatch.setenv("HSPI_ALLOW_ENV", own)
        with pytest.raises(UserError, match=rf"^a\.b reads SECRET .* set HSPI_ALLOW_ENV={told} in"):
            check_interpolations(config)
