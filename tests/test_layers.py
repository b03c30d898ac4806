"""The allowed directions between rooms (docs/architecture.md), read from the imports themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    # A room may import its own floor's rooms below it in this order, never one above.
    "data_gen": [
        {"errors", "grid", "coarse", "scan", "draws", "recompute", "linear", "memory"},
        {"nuclides", "materials"},
        {"detector"},
        {"camera"},
        {"projector", "montecarlo", "readout"},
        {"mixing"},
        {"scatter"},
        {"acquisition", "spectrum"},
        {"recording", "references"},
        {"secondary", "blocks", "pixels"},
        {"forward"},
        {"system"},
        {"kinetics"},
        {"phantoms"},
        {"design"},
        {"storage"},
        {"photopeak", "exposure"},
        {"simulation", "plan"},
        {"generate"},
    ],
    "hspi_learn": [
        {"data", "reconstructor"},
        {"classical", "networks", "losses", "attacks", "metrics", "visual", "io"},
        {"tasks"},
        {"evaluation", "benchmark"},
        {"configs"},
        {"commands"},
    ],
}


def _imports(path: Path) -> set[str]:
    """Dotted modules that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def _floor(package: str, room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS[package]) if room in rooms)


def _files(package: str) -> list[Path]:
    return sorted(p for p in (ROOT / package).rglob("*.py") if p != ROOT / package / "__init__.py")


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_nothing_runs_back_up(package: str) -> None:
    """Every import inside a package points to its own room or to a lower floor."""
    wrong = []
    for path in _files(package):
        room = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != package or len(parts) < 2 or parts[1] == room:
                continue
            if _floor(package, parts[1]) > _floor(package, room):
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
