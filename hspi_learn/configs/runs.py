"""Configs of run folders: what they record, and trained tasks rebuilt from them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from data_gen.core.errors import UserError
from hspi_learn.configs.build import build
from hspi_learn.configs.check import check_targets
from hspi_learn.configs.old_runs import translated
from hspi_learn.configs.packages import packages_used
from hspi_learn.io.run_folder import RunFolder, read_config, read_json


def load_task(run_dir: str | Path, dead_pixels: Sequence[int] | None = None) -> Any:
    """The trained LightningModule of a run, in evaluation mode; its ``system`` is the run's own.

    Args:
        run_dir: folder of the run.
        dead_pixels: pixels of the camera that its scans have dead; None: those that it was trained with.

    Raises:
        UserError: the folder is no finished run, or a part of it is damaged or not allowed.
    """
    # Loading torch takes seconds; commands that only check configs do without.
    from data_gen.forward_model.system import ImagingSystem
    from hspi_learn.io.weights import load_weights

    folder = RunFolder.existing(run_dir)
    config = translated(read_config(run_dir))
    try:
        check_targets(config)
    except UserError as error:
        raise UserError(f"{folder.config_file}: {error}") from error
    warn_of_other_packages(folder, config)
    if "task" not in config:
        raise UserError(f"{folder.config_file} lacks task; it needs to be the config of a training run")
    weights = load_weights(folder.weights_file)
    system = ImagingSystem.from_dict(read_json(folder.system_file))
    if dead_pixels is not None:
        system = system.with_dead_pixels(dead_pixels)
    task = build(config["task"], key="task", system=system)
    try:
        task.load_state_dict(weights)
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise UserError(f"{folder.weights_file} does not fit {folder.config_file}: {told}") from error
    return task.eval().requires_grad_(False)


def record_windows(config: DictConfig, data: Any) -> None:
    """Write the edges that ``windows_kev: lines`` stood for into a config, so that its run folder holds them.

    Args:
        config: config of a command; its own ``windows_kev`` and those of its data and task are filled in.
        data: the data module, whose ``windows`` they are; one without windows leaves the config as it is.
    """
    windows = getattr(data, "windows", None)
    for node in (config, config.get("data"), config.get("task")):
        if windows is not None and isinstance(node, DictConfig) and isinstance(node.get("windows_kev"), str):
            node["windows_kev"] = list(windows.boundaries_kev)


def warn_of_other_packages(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Warn if packages that a run calls are not those that it was made with, telling both.

    Args:
        folder: folder of the run; its ``environment.json`` records the packages.
        config: config of the run, after its targets were checked.
    """
    packages = packages_used(config)
    if not packages:
        return
    recorded = read_json(folder.environment_file).get("packages", {})
    for name, present in packages.items():
        former = recorded.get(name, {})
        if former != present:
            warnings.warn(
                f"{folder.path} was made with {name} {_told(former)}, but {_told(present)} is installed; "
                "results may differ",
                stacklevel=2,
            )


def _told(package: Mapping[str, Any]) -> str:
    """Version and hash of a package in words."""
    number, digest = package.get("version") or "of no version", package.get("sha256") or "unknown"
    return f"{number} (source files {digest[:12]})"
