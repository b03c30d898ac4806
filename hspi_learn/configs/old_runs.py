"""Configs of runs that an older version trained, in the words of this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GAN = "hspi_learn.tasks.GanReconstruction"
_OLD_DEFAULTS = {
    "voxel_weight": 1.0,
    "data_weight": 0.02,
    "count_weight": 0.05,
    "adversarial_weight": 0.01,
    "adversarial_kind": "least_squares",
    "adversarial_from": 0.2,
    "data_interval": 4,
    "mirror_axes": ["x"],
    "learning_rate": 2e-3,
    "discriminator_learning_rate": 4e-4,
    "weight_decay": 1e-4,
    "largest_gradient": 1.0,
    "seed": 0,
}


_GAMES = {"least_squares": "LeastSquaresGame", "hinge": "HingeGame"}
"""The adversary's game by its name as a ``kind``."""


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run with its task in today's arguments; one of today's comes back as it is.

    Until version 0.1.0 ``GanReconstruction`` took every weight and rate as an argument of its own; later its
    adversary named its game as a ``kind``.
    """
    task = config.get("task")
    if not isinstance(task, Mapping) or task.get("_target_") != _GAN:
        return dict(config)
    if "discriminator" in task:
        task = _gan(task)
    adversary = task.get("adversary")
    if isinstance(adversary, Mapping) and adversary.get("kind") in _GAMES:
        task = {**task, "adversary": _adversary(adversary)}
    return {**config, "task": task}


def _adversary(old: Mapping[str, Any]) -> dict[str, Any]:
    """The node of an adversary with its game in the place of its kind."""
    kept = {name: value for name, value in old.items() if name != "kind"}
    return {**kept, "game": {"_target_": f"hspi_learn.losses.{_GAMES[old['kind']]}"}}


def _gan(old: Mapping[str, Any]) -> dict[str, Any]:
    """The node of a GanReconstruction of nineteen arguments in those of today."""
    value = {**_OLD_DEFAULTS, **old}
    kept = ("_target_", "windows_kev", "generator", "initial", "mirror_axes", "largest_gradient", "seed")
    return {name: value[name] for name in kept if name in value} | {
        "losses": {
            "voxel": _loss("RelativeError", value["voxel_weight"]),
            "data": _loss("PoissonDeviance", value["data_weight"], value["data_interval"]),
            "count": _loss("CountMismatch", value["count_weight"], value["data_interval"]),
        },
        "adversary": {
            "_target_": "hspi_learn.tasks.Adversary",
            "discriminator": value["discriminator"],
            "weight": value["adversarial_weight"],
            "kind": value["adversarial_kind"],
            "from_share": value["adversarial_from"],
            "optimizer": _optimizer("Adam", lr=value["discriminator_learning_rate"], betas=[0.5, 0.9]),
        },
        "optimizer": _optimizer(
            "AdamW", lr=value["learning_rate"], betas=[0.9, 0.98], weight_decay=value["weight_decay"]
        ),
    }


def _loss(name: str, weight: float, every: int = 1) -> dict[str, Any]:
    return {"_target_": f"hspi_learn.losses.{name}", "weight": weight, "every": every}


def _optimizer(name: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"torch.optim.{name}", "_partial_": True, **settings}
