"""Configs of runs that an older version trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger

from hspi_learn.configs import build, check_config
from hspi_learn.configs.check import check_node, plain
from hspi_learn.configs.old_runs import translated
from hspi_learn.configs.schema import Node
from hspi_learn.io.run_folder import RunFolder, read_config
from hspi_learn.losses import HingeGame


class Settings:
    """Stands for the settings of a command."""

    def __init__(self, logger: Node) -> None: ...


OLD: dict[str, Any] = {
    "_target_": "hspi_learn.tasks.GanReconstruction",
    "windows_kev": [20, 60, 600],
    "steps": 600,
    "voxel_weight": 1.0,
    "data_weight": 0.03,
    "count_weight": 0.05,
    "adversarial_weight": 0.0,
    "adversarial_kind": "hinge",
    "adversarial_from": 0.3,
    "data_interval": 5,
    "mirror_axes": ["x", "y"],
    "learning_rate": 0.001,
    "discriminator_learning_rate": 0.0005,
    "weight_decay": 0.0002,
    "largest_gradient": 2.0,
    "seed": 3,
    "generator": {"_target_": "hspi_learn.networks.CorrectionUNet", "_partial_": True},
    "discriminator": {"_target_": "hspi_learn.networks.PatchDiscriminator", "_partial_": True, "channels": 4},
    "initial": {"_target_": "hspi_learn.tasks.BackProjection", "_partial_": True},
}
"""The task of a run as version 0.1.0 wrote it."""


def test_old_arguments_come_through() -> None:
    """Every weight and rate of the old config stands where the new classes take it, and passes the check."""
    task = translated({"task": OLD, "seed": 3})["task"]
    check_node(task, "task", given=["system"])
    adversary = build(task["adversary"], key="task.adversary")
    assert (adversary.weight, adversary.from_share, adversary.gradient_ratio) == (0.0, 0.3, None)
    assert isinstance(adversary.game, HingeGame)
    assert adversary.discriminator(2).smallest == 16
    assert adversary.optimizer.keywords == {"lr": 0.0005, "betas": (0.5, 0.9)}
    losses = {name: build(node, key=name) for name, node in task["losses"].items()}
    assert {name: (loss.weight, loss.every) for name, loss in losses.items()} == {
        "voxel": (1.0, 1),
        "data": (0.03, 5),
        "count": (0.05, 5),
    }
    assert build(task["optimizer"], key="task.optimizer").keywords["weight_decay"] == 0.0002
    assert {name: task[name] for name in ("windows_kev", "mirror_axes", "largest_gradient", "seed")} == {
        "windows_kev": [20, 60, 600],
        "mirror_axes": ["x", "y"],
        "largest_gradient": 2.0,
        "seed": 3,
    }


def test_what_an_old_config_left_out_is_as_it_was() -> None:
    """Defaults of GanReconstruction in version 0.1.0 (its signature then, before its losses
    became objects of their own), which the run was trained with, whatever today's are."""
    left_out = {
        name: OLD[name] for name in ("_target_", "windows_kev", "steps", "generator", "discriminator")
    }
    assert translated({"task": left_out})["task"] == {
        "_target_": "hspi_learn.tasks.GanReconstruction",
        "windows_kev": [20, 60, 600],
        "generator": OLD["generator"],
        "mirror_axes": ["x"],
        "largest_gradient": 1.0,
        "seed": 0,
        "losses": {
            "voxel": {"_target_": "hspi_learn.losses.RelativeError", "weight": 1.0, "every": 1},
            "data": {"_target_": "hspi_learn.losses.PoissonDeviance", "weight": 0.02, "every": 4},
            "count": {"_target_": "hspi_learn.losses.CountMismatch", "weight": 0.05, "every": 4},
        },
        "adversary": {
            "_target_": "hspi_learn.tasks.Adversary",
            "discriminator": OLD["discriminator"],
            "weight": 0.01,
            "from_share": 0.2,
            "game": {"_target_": "hspi_learn.losses.LeastSquaresGame"},
            "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 4e-4, "betas": [0.5, 0.9]},
        },
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "_partial_": True,
            "lr": 2e-3,
            "betas": [0.9, 0.98],
            "weight_decay": 1e-4,
        },
    }


@pytest.mark.parametrize(("kind", "game"), [("hinge", "HingeGame"), ("least_squares", "LeastSquaresGame")])
def test_an_adversary_that_names_its_game_as_a_kind(kind: str, game: str) -> None:
    """The run folders of before games were objects; a kind that never was is left for the check to refuse."""
    adversary = {
        "_target_": "hspi_learn.tasks.Adversary",
        "discriminator": OLD["discriminator"],
        "weight": 0.2,
    }
    former = {"task": {"_target_": OLD["_target_"], "adversary": {**adversary, "kind": kind}}, "seed": 1}
    wanted = {**adversary, "game": {"_target_": f"hspi_learn.losses.{game}"}}
    assert translated(former) == {"task": {"_target_": OLD["_target_"], "adversary": wanted}, "seed": 1}
    unknown = {"task": {"_target_": OLD["_target_"], "adversary": {**adversary, "kind": "chess"}}}
    assert translated(unknown) == unknown


def test_configs_of_today_stay_as_they_are() -> None:
    """A translated config, another task, and a config without a task are left alone."""
    new = translated({"task": OLD})
    assert translated(new) == new
    for config in ({"task": {"_target_": "my.Task", "discriminator": 1}}, {"data": {}}):
        assert translated(config) == config


@pytest.mark.parametrize(
    ("former", "present"),
    [(name, f"open_{name}") for name in ("csv", "tensorboard", "wandb", "mlflow")],
)
def test_loggers_under_their_former_names(former: str, present: str, tmp_path: Path) -> None:
    """A run folder of before the dashboards had a package is read as if it had been made today."""
    (tmp_path / "config.yaml").write_text(f"logger: {{_target_: hspi_learn.io.loggers.{former}}}\n")
    node = check_config(read_config(tmp_path), Settings)["logger"]
    assert node == {"_target_": f"hspi_learn.dashboards.{present}"}
    if former == "csv":
        assert isinstance(build(node, key="logger", folder=RunFolder(tmp_path)), CSVLogger)


@pytest.mark.parametrize("name", ["HideRegion", "InventRegion", "UptakeError"])
def test_the_number_of_a_map_under_its_former_name(name: str) -> None:
    """``group`` of an objective is ``map`` today, wherever a config says it; of both ``group`` counts."""
    former = {"_target_": f"hspi_learn.attacks.{name}", "organ": "liver", "group": 1}
    assert build(former, key="objective").map == 1
    assert check_config({"logger": former}, Settings)["logger"]["map"] == 1
    assert build({**former, "map": None, "group": 1}, key="objective").map == 1
    assert plain({"x": {"_target_": "torch.optim.SGD", "group": 1}})["x"]["group"] == 1
