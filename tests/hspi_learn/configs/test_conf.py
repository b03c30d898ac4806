"""Every member of every config group composes, passes the check, and builds if it stands alone."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from hspi_learn.commands.composing import command_line, composed_jobs, config_folder
from hspi_learn.configs import build, check_config, check_hydra

COMMANDS = ("benchmark", "evaluate", "generate", "reconstruct", "train")
ALONE = ("attack", "camera", "network", "nuclide", "objective", "phantom", "threat_model")
"""Groups whose members are built without other objects."""


def _settings(command: str) -> type:
    module = import_module(f"hspi_learn.commands.{command}")
    settings: type = getattr(module, f"{command.capitalize()}Settings")
    return settings


def _composed(command: str, *overrides: str) -> DictConfig:
    (config,) = composed_jobs(command, command_line(command, list(overrides)))
    return config


def _filled(config: DictConfig) -> DictConfig:
    """The config with a word in every place that the user has to fill."""
    with open_dict(config):
        for key in OmegaConf.missing_keys(config):
            OmegaConf.update(config, key, "filled")
        for key in ("run_dir", "output"):
            if key in config and config[key] is None:
                config[key] = "filled"
    return config


def _choices() -> Iterator[tuple[str, str, str]]:
    for command in COMMANDS:
        if not (config_folder() / f"{command}.yaml").is_file():
            continue
        choices = _composed(command).hydra.runtime.choices
        for group in sorted(str(g) for g in choices if not str(g).startswith("hydra/")):
            folder = config_folder() / group.split("@")[0]
            yield from ((command, group, path.stem) for path in sorted(folder.glob("*.yaml")))


@pytest.mark.parametrize(("command", "group", "member"), list(_choices()))
def test_member_composes_and_passes_the_check(command: str, group: str, member: str) -> None:
    """Contract of the config groups: any member can stand in any command that has its group."""
    config = _composed(command, f"{group}={member}")
    check_hydra(config.hydra)
    with open_dict(config):
        del config["hydra"]
    check_config(_filled(config), _settings(command))


def _members() -> Iterator[Path]:
    return (path for group in ALONE for path in sorted((config_folder() / group).glob("*.yaml")))


@pytest.mark.parametrize("path", list(_members()), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_member_builds(path: Path) -> None:
    """What needs no other object is built as it is written."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    if OmegaConf.missing_keys(config):
        pytest.skip("needs a file of the user")
    assert build(config, key=path.parent.name) is not None
