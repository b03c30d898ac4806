"""Cells that run commands: what names what, when something runs again, and where nothing may be written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_gen.core.errors import UserError
from hspi_learn.benchmark import LinkedCells, command_cell

TARGET = "hspi_learn.benchmark.command_cell"


def _nodes(**changes: Any) -> dict[str, Any]:
    mice = {"_target_": TARGET, "command": "generate", "arguments": ["size=tiny", "dataset.sizes={train: 2}"]}
    unet = {"_target_": TARGET, "command": "train", "arguments": ["data.folder={mice}"]}
    judged = {
        "_target_": TARGET,
        "command": "evaluate",
        "arguments": ["data.folder={mice}", "+runs.a={unet}"],
    }
    table = {"_target_": "somewhere.table", "folders": {"1e5": "{judged}"}}
    return {"mice": mice, "unet": unet, "judged": judged, "table": table, **changes}


def _linked(nodes: Mapping[str, Any]) -> LinkedCells:
    return LinkedCells(nodes, {}, Path("work"), lambda name, node: "data_gen.core.errors")


class TestLinks:
    def test_names_become_folders(self) -> None:
        """Folders carry name and key; braces that name no cell stay as they are."""
        linked = _linked(_nodes())
        mice, unet = (f"work/{name}-{linked.key(name)}" for name in ("mice", "unet"))
        assert linked.node("mice")["arguments"] == ["size=tiny", "dataset.sizes={train: 2}"]
        assert linked.node("judged")["arguments"] == [f"data.folder={mice}", f"+runs.a={unet}"]
        assert linked.node("unet")["folder"] == unet
        assert linked.node("table") == {
            "_target_": "somewhere.table",
            "folders": {"1e5": f"work/judged-{linked.key('judged')}"},
        }

    def test_a_change_runs_all_that_follows_again(self) -> None:
        """Another training changes its own key and those of what names it, and no other."""
        other = {"_target_": TARGET, "command": "train", "arguments": ["data.folder={mice}", "seed=1"]}
        before, after = _linked(_nodes()), _linked(_nodes(unet=other))
        changed = [name for name in before.nodes if before.key(name) != after.key(name)]
        assert changed == ["unet", "judged", "table"]

    def test_a_circle_is_told(self) -> None:
        first = {"_target_": TARGET, "command": "train", "arguments": ["data.folder={judged}"]}
        with pytest.raises(UserError, match="in a circle: unet -> judged -> unet"):
            _linked(_nodes(unet=first)).key("unet")


class _Commands:
    """In place of processes: notes calls, and leaves the metrics of a run."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.calls = code, list[list[str]]()

    def __call__(self, call: list[str], check: bool) -> Any:
        assert not check
        self.calls.append(call[1:])
        folder = Path(call[-1].partition("=")[2])
        folder.mkdir(parents=True, exist_ok=True)
        if not self.code:
            (folder / "metrics.json").write_text(json.dumps({"val/nrmse": 0.3, "val/other": 1.0}))
        return SimpleNamespace(returncode=self.code)


class TestRuns:
    def test_begun_gone_on_with_and_finished(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A new folder, a resumed one, none for what is finished; a data set goes on by itself; a broken-off
        evaluation begins anew."""
        commands = _Commands()
        monkeypatch.setattr(subprocess, "run", commands)
        new, begun, done, broken = (tmp_path / name for name in ("new", "begun", "done", "broken"))
        for folder in (begun, done, broken):
            folder.mkdir()
            (folder / "config.yaml").write_text("")
        (done / "metrics.json").write_text('{"val/nrmse": 0.25}')
        for folder in (new, begun, done):
            command_cell("train", ["seed=1"], str(folder))
        command_cell("evaluate", ["seed=1"], str(broken))
        command_cell("generate", ["seed=1"], str(begun))
        train, evaluate = (["-m", f"hspi_learn.commands.{name}"] for name in ("train", "evaluate"))
        assert commands.calls == [
            [*train, "seed=1", f"run_dir={new}"],
            [*train, f"resume={begun}"],
            [*evaluate, "seed=1", f"run_dir={broken}"],
            ["-m", "hspi_learn.commands.generate", "seed=1", f"output={begun}"],
        ]
        assert not (broken / "config.yaml").exists()

    def test_its_points_are_the_numbers_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(subprocess, "run", _Commands())
        found = command_cell("train", [], str(tmp_path / "run"), figures=["val/n*"])
        assert [(point.name, point.value, point.limit) for point in found.points] == [
            ("val/nrmse", 0.3, None)
        ]

    def test_a_failure_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(subprocess, "run", _Commands(code=2))
        with pytest.raises(UserError, match="hspi-train ended with exit status 2"):
            command_cell("train", [], str(tmp_path / "run"))

    @pytest.mark.parametrize(
        "argument",
        ["run_dir=/elsewhere", "+output=x", "resume=x", "hydra.run.dir=x", "--config-dir=x", "logger=wandb"],
    )
    def test_results_go_nowhere_else(
        self, argument: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A suite from a stranger chooses no folder, no option and no server; nothing runs."""
        commands = _Commands()
        monkeypatch.setattr(subprocess, "run", commands)
        with pytest.raises(UserError, match="arguments holds"):
            command_cell("train", ["seed=1", argument], str(tmp_path / "run"))
        assert not commands.calls
