"""Every member of every config group composes, passes the check, and builds if it stands alone."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict

from hspi_learn.commands.composing import command_line, composed_jobs, config_folder
from hspi_learn.commands.evaluate import EvaluateSettings
from hspi_learn.configs import build, check_config, check_hydra

EXAMPLE = config_folder().parent / "docs" / "examples" / "my_package" / "conf"
COMMANDS = ("benchmark", "evaluate", "export", "generate", "reconstruct", "train")
ALONE = ("attack", "camera", "classes", "network", "nuclide", "objective", "phantom", "threat_model")
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
            members = sorted(folder.glob("*.yaml"))
            if group == "experiment":
                members = [path for path in members if _command_of(path) == command]
            yield from ((command, group, path.stem) for path in members)


def _command_of(experiment: Path) -> str:
    """The command whose line, in the head of the file, makes the experiment."""
    line = re.search(rf"hspi-(\w+) .*experiment={experiment.stem}$", experiment.read_text(), re.MULTILINE)
    assert line, f"{experiment} does not say its command line"
    return line[1]


EXPERIMENTS = sorted((config_folder() / "experiment").glob("*.yaml"))
ATTACKS = sorted((config_folder() / "attack").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: str(p.stem))
def test_experiment_composes_by_its_own_command_line(path: Path) -> None:
    """The line in the head of each file, word for word but for the user's folders, passes the check."""
    command = _command_of(path)
    (line,) = re.findall(rf"hspi-{command} (.*experiment={path.stem})$", path.read_text(), re.MULTILINE)
    config = _composed(command, *line.split())
    with open_dict(config):
        del config["hydra"]
    check_config(_filled(config), _settings(command))


@pytest.mark.parametrize("name", ["adversary", "digimouse"])
def test_every_row_of_a_published_table_has_its_experiment(name: str) -> None:
    """A row's name stands in the head of an experiment that names its table."""
    table = (config_folder().parent / "docs" / "results" / f"{name}.md").read_text()
    rows = re.findall(r"^\| (\w+) \| +[-0-9]", table, re.MULTILINE)
    heads = [path.read_text() for path in EXPERIMENTS]
    assert rows
    for row in rows:
        assert any(f'"{row}"' in head and f"docs/results/{name}.md" in head for head in heads), row


@pytest.mark.parametrize("command", ["evaluate", "generate", "train"])
def test_a_size_changes_what_was_not_chosen_on_the_command_line(command: str) -> None:
    """size=small is what the groups say; tiny and full differ from it; a value that is given stays."""
    given = {
        "evaluate": "attacked_scans=7",
        "generate": "dataset.sizes.train=7",
        "train": "trainer.max_steps=7",
    }[command]
    key, _, value = given.partition("=")
    default, tiny, small, full = (
        _composed(command, *chosen) for chosen in ((), ("size=tiny",), ("size=small",), ("size=full",))
    )
    sizes = [OmegaConf.select(config, key) for config in (tiny, small, full)]
    assert sizes == sorted(set(sizes))
    assert OmegaConf.select(default, key) == sizes[1]
    assert OmegaConf.select(_composed(command, "size=tiny", given), key) == int(value)


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
@pytest.mark.parametrize("path", ATTACKS, ids=lambda p: str(p.stem))
def test_every_attack_goes_with_every_size(path: Path, size: str) -> None:
    """An attack that is chosen is composed to the letter, whatever the size; the size chooses otherwise."""
    config = _composed("evaluate", f"size={size}", f"attack@attacks.attacked={path.stem}", "data.folder=x")
    with open_dict(config):
        del config["hydra"]
    check_config(_filled(config), EvaluateSettings)
    alone = _composed("evaluate", f"attack@attacks.attacked={path.stem}")
    assert config.attacks.attacked == alone.attacks.attacked
    chosen_by_size = _composed("evaluate", f"size={size}").attacks.attacked
    assert chosen_by_size.steps == {"tiny": 5, "small": 5, "full": 20}[size]


TASKS = [*sorted((config_folder() / "task").glob("*.yaml")), *sorted((EXAMPLE / "task").glob("*.yaml"))]


@pytest.mark.parametrize("path", TASKS, ids=lambda p: str(p.stem))
def test_a_loss_that_is_added_comes_beside_the_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task's config lists its losses, so that +task.losses.x= replaces none of them."""
    monkeypatch.setenv("HSPI_ALLOW", "my_package")
    arguments = ["--config-dir", str(EXAMPLE), "data.folder=x", f"task={path.stem}"]
    before, after = (
        list(_composed("train", *arguments, *added).task.losses)
        for added in ((), ("+task.losses.x={_target_: hspi_learn.losses.TaskLoss}",))
    )
    assert before
    assert after == [*before, "x"]


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
    """What needs no other object is built as it is written, its own defaults composed."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    if "defaults" in config:
        mark = "" if path.parent.name in _composed("generate").hydra.runtime.choices else "+"
        config = _composed("generate", f"{mark}{path.parent.name}={path.stem}")[path.parent.name]
    if OmegaConf.missing_keys(config):
        pytest.skip("needs a file of the user")
    assert build(config, key=path.parent.name) is not None
