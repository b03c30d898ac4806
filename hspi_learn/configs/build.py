"""Build objects from config nodes: what was checked is what is called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig

from data_gen.core.errors import UserError
from hspi_learn.configs.check import check_node, plain
from hspi_learn.configs.schema import join
from hspi_learn.configs.targets import locate


def build(node: DictConfig | Mapping[str, Any], key: str | None = None, **objects: Any) -> Any:
    """The object that a node describes.

    Args:
        node: a node with ``_target_``; nested nodes are built first. ``_partial_: true`` gives a function
            that waits for the rest of its arguments.
        key: where the node stands in the config; a DictConfig knows it.
        objects: arguments that the program hands over, beside or instead of those in the node.

    Raises:
        UserError: the node is wrong, or its target refuses the values, told with the key of the config.
    """
    where = (node._get_full_key(None) if isinstance(node, DictConfig) else "config") if key is None else key
    data = plain(node, where)
    if "_target_" not in data:
        raise UserError(f"{where} lacks _target_; it needs the name of what to build")
    return _call(data, where, objects)


def _call(node: Mapping[str, Any], key: str, objects: Mapping[str, Any]) -> Any:
    arguments = check_node(node, key, given=objects)
    built = {name: _filled(value, join(key, name)) for name, value in arguments.items()}
    target = locate(node["_target_"], key)
    if node.get("_partial_", False):
        return partial(target, **built, **objects)
    try:
        return target(**built, **objects)
    except UserError as error:
        told = str(error)
        raise UserError(told if told.startswith(key) else f"{key}: {told}") from error
    except Exception as error:
        error.add_note(f"while building {key} of the config ({node['_target_']})")
        raise


def _filled(value: Any, key: str) -> Any:
    """The value with every node inside of it built."""
    if isinstance(value, dict):
        if "_target_" in value:
            return _call(value, key, {})
        return {name: _filled(item, join(key, name)) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_filled(item, join(key, i)) for i, item in enumerate(value))
    return value
