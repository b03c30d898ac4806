"""What the documentation and the docstrings name exists."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for package in ("data_gen", "hspi_learn") for p in (ROOT / package).rglob("*.py"))
TEXTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *SOURCES]
PATHS = re.compile(
    r"\b(?:data_gen|hspi_learn|conf|docs|scripts|tests)/[\w/.-]*\.(?:csv|json|md|png|py|sh|yaml)\b"
)
ROLES = re.compile(r":(?:attr|class|data|func|meth|mod):`~?(data_gen[\w.]+)`")
ENTRY = re.compile(r"^\| `([\w.]+)` \| `([\w.]+)` \|", re.MULTILINE)


def named(pattern: re.Pattern[str], text: Path) -> set[str]:
    """What a file names; placeholders in capitals, such as NAME.yaml, are none."""
    return {
        name for name in pattern.findall(text.read_text()) if not re.search(r"\b[A-Z]+\b", Path(name).stem)
    }


def test_named_files_exist() -> None:
    """Every path of our own folders in docs, README and source files is a file."""
    missing = {
        f"{text.relative_to(ROOT)}: {name}"
        for text in TEXTS
        for name in named(PATHS, text)
        if not (ROOT / name).is_file()
    }
    assert not missing


def test_references_of_docstrings_resolve() -> None:
    """Every reference to a module, class or function of data_gen, such as :func:`data_gen.x.y`, is one."""
    wrong = []
    for name in sorted({name for text in SOURCES for name in ROLES.findall(text.read_text())}):
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            wrong.append(name)
    assert not wrong


def test_glossary_is_alphabetical_and_current() -> None:
    """Every entry is a name of its package, and entries are sorted."""
    entries = ENTRY.findall((ROOT / "docs" / "glossary.md").read_text())
    assert len(entries) > 50
    assert [name for name, _ in entries] == sorted((name for name, _ in entries), key=str.lower)
    gone = [f"{package}.{name}" for name, package in entries if not hasattr(import_module(package), name)]
    assert not gone


@pytest.mark.parametrize("name", ["data_gen/projector/ray.py", "conf/suite/none.yaml"])
def test_a_wrong_path_would_be_found(tmp_path: Path, name: str) -> None:
    """The pattern sees a path in a sentence, and these are no files."""
    text = tmp_path / "page.md"
    text.write_text(f"The rays of `{name}` are straight; conf/experiment/NAME.yaml is a placeholder.")
    assert named(PATHS, text) == {name}
    assert not (ROOT / name).is_file()


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_what_is_there(script: Path) -> None:
    """Names that a script takes from our packages exist: long studies would tell after hours, or never."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            "data_gen",
            "hspi_learn",
        ):
            module = import_module(node.module or "")
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), name
