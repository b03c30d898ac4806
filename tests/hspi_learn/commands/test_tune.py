"""hspi-tune: trainings and a classical method, killed and gone on with; what cannot be searched is told."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from data_gen.core.errors import UserError
from hspi_learn.commands.composing import command_line, composed_jobs
from hspi_learn.commands.tune import TuneSettings, _check_candidates, _present, tune
from hspi_learn.configs import build, check_config


def _composed(*overrides: str) -> DictConfig:
    """The checked config of a command line."""
    (config,) = composed_jobs("tune", command_line("tune", list(overrides)))
    with open_dict(config):
        del config["hydra"]
    return OmegaConf.create(check_config(config, TuneSettings))


def _tuned(*overrides: str) -> dict[str, float]:
    """What the command does with these overrides, in this process but for its trials."""
    return tune(_composed(*overrides))


def _trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "tables" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_trainings_are_searched(tiny_training: tuple[str, ...], tmp_path: Path) -> None:
    """Two trials of ten steps: a run folder each, the better one named, its settings a config that trains."""
    folder = tmp_path / "search"
    numbers = _tuned(
        *tiny_training,
        "search.space={task.optimizer.lr: [1e-3, 1e-2]}",
        "search.trials=2",
        "search.prune=false",
        "search.side_by_side=2",
        f"run_dir={folder}",
    )
    values = {}
    for number in range(2):
        run = folder / "trials" / f"{number:04d}"
        values[number] = json.loads((run / "metrics.json").read_text())["val/nrmse"]
    assert numbers["best/value"] == min(values.values())
    assert numbers["best/trial"] == min(values, key=lambda number: values[number])
    assert numbers["trials/finished"] == 2
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert list(best) == ["task"]
    assert f"{best['task']['optimizer']['lr']:.4g}" == _trials(folder)[0]["task.optimizer.lr"]
    assert [row["state"] for row in _trials(folder)] == ["finished", "finished"]


@pytest.mark.slow
def test_a_killed_search_of_osem_goes_on(data_folder: Path, tmp_path: Path) -> None:
    """Killed after its first trial: the same trials and the same best as a search that was let be."""
    space = "search.space={classical.iterations: {low: 1, high: 6}}"
    given = (f"data.folder={data_folder}", "classical=osem", "classical.subsets=2", space, "search.trials=2")
    given = (*given, "search.prune=false", "search.side_by_side=1", "validation_scans=1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    numbers = _tuned(*given, f"run_dir={whole}")
    call = [sys.executable, "-m", "hspi_learn.commands.tune", *given, f"run_dir={killed}"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("trial 0: ")
        process.send_signal(signal.SIGKILL)
    time.sleep(1)  # its trial ends with it
    config = OmegaConf.create(check_config(OmegaConf.load(killed / "config.yaml"), TuneSettings))
    assert tune(config, resume=True) == numbers
    again, before = _trials(killed), _trials(whole)
    drop = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in drop} for row in again] == [
        {k: v for k, v in row.items() if k not in drop} for row in before
    ]


@pytest.mark.parametrize("search", ["training", "osem", "map_rdp"])
def test_what_is_offered_can_be_searched(search: str) -> None:
    """Every setting is a key of the config with a value, and every end of its range passes the check."""
    method = () if search == "training" else (f"classical={search}",)
    config = _composed("data.folder=x", "run_dir=y", f"search={search}", *method)
    plan = build(config.search, key="search")
    assert set(_present(config, plan)) == set(plan.settings)
    _check_candidates(config, plan)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("search.space={task.optimizer.rate: [1, 2]}",), r"names task\.optimizer\.rate, which has no value"),
        (("search.space={classical.penalty: [0.1, 1.0]}",), r"it needs a method, as in classical=osem"),
        (("search.space={task.optimizer.lr: [a, b]}",), r"task\.optimizer\.lr"),
        (("search.space={task.optimizer.lr: 0.1}",), "it needs two or more different values"),
        (("search=training", "search.trials=0"), r"search\.trials is 0"),
        (("search=training", "data.folder=nowhere"), r"nowhere, which holds no manifest\.json"),
    ],
)
def test_what_cannot_be_searched_is_told(
    tiny_training: tuple[str, ...], tmp_path: Path, overrides: tuple[str, ...], told: str
) -> None:
    """One sentence, and nothing is left."""
    with pytest.raises(UserError, match=told):
        _tuned(*tiny_training, f"run_dir={tmp_path}/search", *overrides)
    assert not list(tmp_path.rglob("*"))
