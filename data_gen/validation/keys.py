"""The key of a cell: a hash of everything that determines its result, config, data and code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("data_gen", "hspi_learn")
"""Our own code, which is hashed; of libraries the version is."""

_LIBRARIES = ("torch", "numpy", "xraylib", "radioactivedecay", "icrp107-database")


def cell_key(config: Mapping[str, Any], data: Mapping[str, str], module: str) -> str:
    """Hash of a cell, 16 hex digits.

    Args:
        config: plain data that the cell is run with.
        data: name to hash of every file that it reads.
        module: dotted name of the module that its code starts from.
    """
    parts = [dict(config), dict(data), code_hash(module)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@cache
def code_hash(module: str) -> str:
    """Hash of a module and of everything of ours that it imports, directly or not.

    Comments and docstrings do not count. Data files of the packages reached and the versions of libraries
    that numbers depend on do.
    """
    digest = hashlib.sha256()
    for path in _files(_reached(module)):
        digest.update(path.name.encode() + b"\0" + _content(path))
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """A data file as it is; of a source file what Python runs, without comments and docstrings."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_docstring(part)]
    return ast.dump(tree).encode()


def _is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string alone."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _files(sources: Mapping[str, Path]) -> list[Path]:
    """Source files by module name, and data files (cameras, tables) of the packages reached."""
    folders = {path.parent for path in sources.values() if path.name == "__init__.py"}
    data = {
        path
        for folder in folders - {_source(package).parent for package in PACKAGES}
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    return [sources[name] for name in sorted(sources)] + sorted(data)


def _reached(module: str) -> dict[str, Path]:
    """Source of a module and of our modules that it imports, at any depth, by dotted name."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or not _is_ours(name):
            continue
        found[name] = _source(name)
        waiting.extend(_imported(found[name]))
    return found


def _imported(path: Path) -> Iterator[str]:
    """Names that a file may import: modules, and members of packages, which may be modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _is_ours(name: str) -> bool:
    """Whether this is a module of our packages, and not a class or function in one."""
    if name.partition(".")[0] not in PACKAGES:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent is a module, so this is a name in it
        return False


def _source(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)
