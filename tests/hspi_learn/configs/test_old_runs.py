"""Configs of runs that an older version trained."""

from __future__ import annotations

from typing import Any

from hspi_learn.configs import build
from hspi_learn.configs.check import check_node
from hspi_learn.configs.old_runs import translated

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
    assert (adversary.weight, adversary.kind, adversary.from_share) == (0.0, "hinge", 0.3)
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


def test_configs_of_today_stay_as_they_are() -> None:
    """A translated config, another task, and a config without a task are left alone."""
    new = translated({"task": OLD})
    assert translated(new) == new
    for config in ({"task": {"_target_": "my.Task", "discriminator": 1}}, {"data": {}}):
        assert translated(config) == config
