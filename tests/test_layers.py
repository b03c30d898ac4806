"""The structure of the packages (docs/architecture.md), read from the imports themselves."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    # A package may import from its own layer and from those before it in this order, never from one after.
    "data_gen": [
        {"core"},
        {"materials"},
        {"nuclides"},
        {"detector"},
        {"camera"},
        {"projector", "montecarlo", "readout"},
        {"scatter"},
        {"forward_model"},
        {"kinetics"},
        {"phantoms"},
        {"design", "storage"},
        {"simulation"},
        {"populations"},
        {"validation"},
    ],
    "hspi_learn": [
        {"data", "reconstructor"},
        {"classical", "networks", "losses", "attacks", "metrics", "visual", "io", "dashboards", "tuning"},
        {"tasks"},
        {"evaluation", "benchmark"},
        {"configs"},
        {"commands"},
    ],
}
LONGEST_CHAIN = 12


def _imports(path: Path) -> set[str]:
    """Dotted modules that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def _layer(package: str, part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS[package]) if part in parts)


def _files(package: str) -> list[Path]:
    return sorted(p for p in (ROOT / package).rglob("*.py") if p != ROOT / package / "__init__.py")


@cache
def _packages_imported() -> dict[str, set[str]]:
    """Folders of data_gen that hold modules, each with the others that it imports from."""
    folders = {path.parent for path in _files("data_gen")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    graph: dict[str, set[str]] = defaultdict(set)
    for path in _files("data_gen"):
        own = ".".join(path.parent.relative_to(ROOT).parts)
        for name in _imports(path):
            target = name if name in names else name.rpartition(".")[0]
            if target in names and target != own:
                graph[own].add(target)
    return graph


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_nothing_runs_back_up(package: str) -> None:
    """Every import inside a package points to its own part, its own layer, or one before."""
    wrong = []
    for path in _files(package):
        part = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != package or len(parts) < 2 or parts[1] == part:
                continue
            if _layer(package, parts[1]) > _layer(package, part):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_physics_knows_nothing_of_learning() -> None:
    """No file of data_gen imports hspi_learn, Lightning or Hydra."""
    banned = {"hspi_learn", "pytorch_lightning", "lightning", "hydra", "torchmetrics", "monai"}
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "data_gen").rglob("*.py")
        for name in _imports(path)
        if name.split(".")[0] in banned
    ]
    assert not wrong


def test_packages_of_data_gen_form_no_circle_and_no_long_chain() -> None:
    """Imports between packages of data_gen can be sorted; no chain of them passes more than 12."""
    graph = _packages_imported()
    depth: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():  # raises CycleError where there is a circle
        depth[name] = 1 + max((depth[below] for below in graph.get(name, ())), default=0)
    assert max(depth.values()) <= LONGEST_CHAIN, depth


def test_no_import_hides_in_a_function_of_data_gen() -> None:
    """No function imports from data_gen, which would hide a circle from the test above."""
    hidden = [
        f"{path.relative_to(ROOT)}:{inner.lineno}"
        for path in _files("data_gen")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(function)
        if isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("data_gen")
    ]
    assert not hidden


def test_a_file_name_stands_for_one_thing() -> None:
    """No loose module in data_gen, and no file name more than twice in the product."""
    loose = [path.name for path in (ROOT / "data_gen").glob("*.py") if path.name != "__init__.py"]
    names = Counter(p.name for package in LAYERS for p in _files(package) if p.name != "__init__.py")
    assert not loose
    assert not {name: n for name, n in names.items() if n > 2}
