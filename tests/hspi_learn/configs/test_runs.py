"""Configs of run folders: trained tasks rebuilt from them, and what a run records of its own config."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import nn

from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows
from data_gen.forward_model.system import ImagingSystem
from hspi_learn.configs import runs
from hspi_learn.configs.runs import load_task, record_windows, warn_of_other_packages
from hspi_learn.io.run_folder import RunFolder

CONFIG = "task: {_target_: hspi_learn.tasks.GanReconstruction, seed: 3}\n"


@pytest.fixture
def run(tmp_path: Path, tiny_system: ImagingSystem, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run whose task is a linear map of two numbers, in training mode until it is loaded."""

    def build(node: Any, key: str, system: ImagingSystem) -> nn.Module:
        assert (node["seed"], key) == (3, "task")
        made = nn.Linear(2, 1)
        made.system = system  # type: ignore[assignment]
        return made

    monkeypatch.setattr(runs, "build", build)
    folder = RunFolder(tmp_path / "run")
    folder.weights_file.parent.mkdir(parents=True)
    folder.config_file.write_text(CONFIG)
    folder.system_file.write_text(json.dumps(tiny_system.to_dict()))
    save_file({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])}, folder.weights_file)
    return folder


def test_a_task_comes_with_its_weights_and_its_system(run: RunFolder, tiny_system: ImagingSystem) -> None:
    """In evaluation mode and without gradients; dead pixels are the run's unless others are named."""
    task = load_task(run.path)
    assert task(torch.tensor([1.0, 1.0])).tolist() == [6.0]
    assert not task.training
    assert not any(parameter.requires_grad for parameter in task.parameters())
    assert task.system.fingerprint == tiny_system.fingerprint
    other = load_task(run.path, dead_pixels=[5, 2]).system
    assert other.fingerprint == tiny_system.with_dead_pixels([2, 5]).fingerprint
    assert other.fingerprint != tiny_system.fingerprint


def test_a_run_that_is_no_training_is_told(run: RunFolder) -> None:
    """No task, a target that configs may not call, and weights of another network, each with its file."""
    run.config_file.write_text("seed: 3\n")
    with pytest.raises(UserError, match=r"config\.yaml lacks task; it needs to be the config of a training"):
        load_task(run.path)
    run.config_file.write_text("task: {_target_: os.system}\n")
    with pytest.raises(
        UserError, match=r"config\.yaml: task\._target_ is 'os\.system', which configs may not"
    ):
        load_task(run.path)
    run.config_file.write_text(CONFIG)
    save_file({"weight": torch.zeros(1, 2)}, run.weights_file)
    with pytest.raises(UserError, match=rf"{run.weights_file.name} does not fit .*config\.yaml: .*bias"):
        load_task(run.path)


def test_windows_that_lines_stood_for_are_written_down() -> None:
    """Wherever the config says "lines": at the top, in its data and its task; edges that were given stay."""
    windows = SimpleNamespace(windows=EnergyWindows([60.0, 150.0, 300.0]))

    def recorded(text: str, data: Any = windows) -> Any:
        config = OmegaConf.create(text)
        assert isinstance(config, DictConfig)
        record_windows(config, data)
        return OmegaConf.to_container(config)

    edges = [60.0, 150.0, 300.0]
    assert recorded("windows_kev: lines\ndata: {windows_kev: lines}\ntask: {windows_kev: lines, a: 1}") == {
        "windows_kev": edges,
        "data": {"windows_kev": edges},
        "task": {"windows_kev": edges, "a": 1},
    }
    given = "windows_kev: [20, 600]\ndata: {}\ntask: null"
    assert recorded(given) == {"windows_kev": [20, 600], "data": {}, "task": None}
    assert recorded("windows_kev: lines", SimpleNamespace()) == {"windows_kev": "lines"}


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        (
            {},
            r"with my_package of no version \(source files unknown\), but 1\.5 \(source files 0123456789ab\)",
        ),
        (
            {"my_package": {"version": "1.4", "sha256": "f" * 64}},
            r"with my_package 1\.4 \(source files f{12}\),",
        ),
        ({"my_package": {"version": "1.5", "sha256": "0123456789abcdef"}}, None),
    ],
)
def test_other_packages_than_those_of_the_run_are_told(
    recorded: dict[str, Any], told: str | None, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version and the first twelve digits of the hash, of then and of now; where both are the same,
    nothing."""
    now = {"my_package": {"version": "1.5", "sha256": "0123456789abcdef"}}
    monkeypatch.setattr(runs, "packages_used", lambda config: now)
    run.environment_file.write_text(json.dumps({"packages": recorded}))
    if told is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_other_packages(run, {})
        return
    with pytest.warns(UserWarning, match=told):
        warn_of_other_packages(run, {})
