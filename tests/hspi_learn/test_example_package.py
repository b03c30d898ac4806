"""The classes of docs/examples/my_package keep to the contracts of their kinds; test_wheel.py installs it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from contracts.attack_contract import AttackContract
from contracts.phantom_contract import PhantomContract
from contracts.task_contract import WINDOWS_KEV, TaskContract

from data_gen.phantoms import PhantomFamily
from hspi_learn.attacks import Attack
from hspi_learn.tasks import Task

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "my_package" / "src"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``PYTHONPATH`` would; another test's copy of the package is forgotten."""
    monkeypatch.syspath_prepend(str(SOURCE))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, name)


def example(module: str) -> Any:
    return importlib.import_module(f"my_package.{module}")


class TestFastGradient(AttackContract):
    def make(self) -> Attack:
        attack: Attack = example("attack").FastGradient()
        return attack


class TestHotSphere(PhantomContract):
    def family(self) -> PhantomFamily:
        family: PhantomFamily = example("phantom").HotSphere()
        return family


class TestTotalActivity(TaskContract):
    def make(self, system: Any, **changes: Any) -> Task:
        task: Task = example("task").TotalActivity(system, WINDOWS_KEV, **changes)
        return task
