"""Configs of people who mean harm: each is refused in one sentence, and nothing of it ran or was written.

Around the command's own folder lie a module that leaves a mark when it is imported and a file that is worth
years; a secret stands in the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest
from omegaconf import OmegaConf

import hspi_learn.tasks  # noqa: F401 (seconds, which are not the configs')
from data_gen.core.errors import UserError
from hspi_learn.commands.entry import run_command
from hspi_learn.commands.train import TrainSettings
from hspi_learn.configs import build, check_config
from hspi_learn.configs.interpolations import check_interpolations, restrict_environment
from hspi_learn.configs.servers import check_servers

SECRET = "hunter2-the-secret"
ROOT = Path(__file__).parents[3]


class Trap:
    """A folder ``work`` for a command, and around it what a command must not touch."""

    def __init__(self, root: Path) -> None:
        self.root, self.work, self.thesis = root, root / "work", root / "outside" / "thesis.md"
        self.configs = root / "outside" / "conf"
        for folder in (self.work, root / "modules" / "canary", self.configs / "experiment"):
            folder.mkdir(parents=True)
        self.thesis.write_text("years")
        (root / "outside" / "other.yaml").write_text("seed: 1\n")
        mark = (
            "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef touch(*_, **__): pass\n"
        )
        (root / "modules" / "canary" / "__init__.py").write_text(mark)
        self.before = self.state()

    def state(self) -> dict[str, bytes]:
        """Everything in the folder, its own too, by path."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for path in self.root.rglob("*")
            if self.configs not in path.parents
        }

    def experiment(self, text: str) -> list[str]:
        """Arguments that choose an experiment with this text."""
        (self.configs / "experiment" / "evil.yaml").write_text("# @package _global_\n" + dedent(text))
        return ["--config-dir", str(self.configs), "experiment=evil", "data.folder=x"]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """The trap, untouched after each test."""
    made = Trap(tmp_path)
    monkeypatch.chdir(made.work)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("PRIVATE_TOKEN", SECRET)
    monkeypatch.setenv("HSPI_MEMORY_GB", "4")
    yield made
    assert "canary" not in sys.modules
    assert made.state() == made.before


def _told(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What hspi-train says before it exits with 2: a sentence, soon, without the secret."""
    monkeypatch.setattr(sys, "argv", ["hspi-train", *arguments])
    begun = time.monotonic()
    with pytest.raises(SystemExit) as end:
        run_command("train", pytest.fail, TrainSettings, resume=pytest.fail)
    assert time.monotonic() - begun < 5
    assert end.value.code == 2
    out, told = capsys.readouterr()
    assert told.count("\n") == 1, told
    assert SECRET not in told + out
    return told


def _growing(value: str, line: str) -> str:
    """Eight lines, each of which names the one before nine times."""
    names = zip("abcdefgh", "bcdefghi", strict=True)
    return "\n".join(line.format(name=b, values=", ".join([value.format(a)] * 9)) for a, b in names)


LAUGHS = _growing("${{{}}}", "{name}: '{values}'")
LISTS = _growing("'${{{}}}'", "{name}: [{values}]")
ALIASES = _growing("*{}", "{name}: &{name} [{values}]")
STDOUT = "class: logging.StreamHandler, stream: ext://sys.stdout"

EXPERIMENTS = {
    "package of configs": ("hydra: {searchpath: ['pkg://canary']}", "only supported from the primary"),
    "log file": (
        "hydra: {job_logging: {version: 1, handlers: {x: {class: logging.FileHandler, filename: THESIS, "
        "mode: w}}, root: {handlers: [x]}}}",
        "may only be 'logging.StreamHandler'",
    ),
    "log file of Hydra": (
        "hydra: {hydra_logging: {version: 1, handlers: {x: {class: logging.FileHandler, filename: THESIS}}}}",
        "may only be 'logging.StreamHandler'",
    ),
    "file name of a stream": (
        f"hydra: {{job_logging: {{version: 1, handlers: {{x: {{{STDOUT}, filename: THESIS}}}}}}}}",
        "filename is",
    ),
    "shell lines as log format": (
        "hydra: {job_logging: {version: 1, formatters: {f: {format: 'rm -rf ~ # %(message)s'}}, "
        f"handlers: {{x: {{{STDOUT}, formatter: f}}}}, root: {{handlers: [x]}}}}}}",
        "rm -rf ~",
    ),
    "factory of log handlers": (
        "hydra: {job_logging: {version: 1, handlers: {x: {(): canary.touch}}}}",
        "may only be left out",
    ),
    "class of log format": (
        "hydra: {job_logging: {version: 1, formatters: {x: {class: canary.touch}}}}",
        "may only be left out",
    ),
    "log filter": ("hydra: {job_logging: {version: 1, filters: {x: {(): canary.touch}}}}", "may only set"),
    "log level of a module": (
        "hydra: {job_logging: {version: 1, root: {level: 'ext://canary.touch'}}}",
        "ext://canary.touch",
    ),
    "log level by another name": (
        "x: 'ext://canary.touch'\nhydra: {job_logging: {version: 1, root: {level: '${x}'}}}",
        "may only be written out",
    ),
    "log settings from elsewhere": ("x: {version: 1}\nhydra: {job_logging: {root: '${x}'}}", "written out"),
    "callback": ("hydra: {callbacks: {x: {_target_: canary.touch}}}", "hydra.callbacks.x is set"),
    "launcher": ("hydra: {launcher: {_target_: canary.touch}}", "may not call"),
    "sum of a launcher": ("hydra: {launcher: {pre_dispatch: '9**9**9**9'}}", "may only be '2*n_jobs'"),
    "folder of a launcher": ("hydra: {launcher: {temp_folder: OUTSIDE/x}}", "temp_folder is"),
    "processes of a launcher": ("hydra: {launcher: {n_jobs: 1000000}}", "needs about 3e+05 GB"),
    "sweeper": ("hydra: {sweeper: {_target_: canary.touch}}", "may not call"),
    "folder of a run": ("hydra: {run: {dir: OUTSIDE/x}}", "hydra.run.dir is"),
    "folder of a sweep": ("hydra: {sweep: {dir: OUTSIDE/x}}", "hydra.sweep.dir is"),
    "folder of a job": ("hydra: {sweep: {subdir: ../../outside/x}}", "hydra.sweep.subdir is"),
    "path of modules": ("hydra: {job: {env_set: {PYTHONPATH: OUTSIDE}}}", "hydra.job.env_set.PYTHONPATH is"),
    "folder of the cache": (
        "hydra: {job: {env_set: {HSPI_CACHE_DIR: OUTSIDE}}}",
        "env_set.HSPI_CACHE_DIR is",
    ),
    "copied secret": ("hydra: {job: {env_copy: [PRIVATE_TOKEN]}}", "env_set.PRIVATE_TOKEN is set"),
    "copied nothing": ("hydra: {job: {env_copy: [NOT_THERE]}}", "cannot be composed"),
    "secret": ("run_dir: ${oc.env:PRIVATE_TOKEN}", "reads PRIVATE_TOKEN of the environment"),
    "secret with a default": ("run_dir: \"x/${oc.env:PRIVATE_TOKEN,'y'}\"", "reads PRIVATE_TOKEN"),
    "secret in a default": ("run_dir: '${oc.env:WANDB_MODE,${oc.env:PRIVATE_TOKEN}}'", "reads PRIVATE_TOKEN"),
    "one in another": ("x: run_dir\nrun_dir: '${x.${x}}'", "one ${...} into another"),
    "secret in Hydra's node": ("hydra: {job: {name: '${oc.env:PRIVATE_TOKEN}'}}", "reads PRIVATE_TOKEN"),
    "secret as an option": (
        "defaults: [{override /logger: '${oc.env:PRIVATE_TOKEN}'}]",
        "Error resolving interpolation '${oc.env:PRIVATE_TOKEN}'",
    ),
    "secret at second sight": ("run_dir: '\\${oc.env:PRIVATE_TOKEN}'", "reads PRIVATE_TOKEN"),
    "decoded secret": ("run_dir: \"${oc.decode:'${oc.env:PRIVATE_TOKEN}'}\"", "may"),
    "decoder": ("run_dir: '${oc.decode:x}'", "calls ${oc.decode:}; configs may only call"),
    "unknown resolver": ("run_dir: '${canary:x}'", "configs may only call hydra, now, oc.env, oc.select"),
    "a billion laughs": (f"a: {'ha' * 50}\n{LAUGHS}", "the config stands for about"),
    "a billion lists": (f"a: [1, 1, 1]\n{LISTS}", "the config stands for about"),
    "itself": ("run_dir: ${run_dir}", "run_dir is filled in with itself"),
    "each other": ("x: ${y}\ny: ${x}", "is filled in with itself"),
    "the whole": ("x: {y: '${x}'}", "is filled in with itself"),
    "aliases without end": (f"a: &a [1, 1, 1]\n{ALIASES}", "stands for more than"),
    "alias of itself": ("a: &a [*a]", "contains itself"),
    "deep lists": (f"a: {'[' * 500}{']' * 500}", "nests deeper than"),
    "a long file": ("# " + "x" * 2_000_000, "stands for more than"),
    "many values": (f"a: [{'1,' * 30_000}]", "stands for more than"),
    "a long number": (f"seed: {'9' * 5000}", "cannot be composed"),
    "Python object": ("a: !!python/object/apply:canary.touch []", "no YAML"),
    "no text": ("", "cannot be composed"),
    "config of another folder": ("defaults: [/../other]", "leads out of"),
    "target": ("logger: {_target_: canary.touch}", "may not call"),
    "target in a list": ("x: [[{_target_: canary.touch}]]", "may not call"),
    "path as a name": ("task: {losses: {../../outside/x: null}}", "slash or a dot at its start"),
    "server": (
        "defaults: [{override /logger: mlflow}]\nlogger: {tracking_uri: 'http://evil.example:5000'}",
        "logger.tracking_uri is 'http://evil.example:5000', where your account would be sent",
    ),
    "server by user": (
        "defaults: [{override /logger: wandb}]\nlogger: {base_url: 'https://localhost@evil.example'}",
        "HSPI_ALLOW_SERVERS=evil.example",
    ),
    "folder of a dashboard": (
        "defaults: [{override /logger: mlflow}]\nlogger: {tracking_uri: 'file:OUTSIDE/x'}",
        "where your account would be sent",
    ),
    "many threads": ("threads: 1000000", "threads is 1000000; it needs to be less than"),
}


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_experiments(kind: str, trap: Trap, monkeypatch, capsys) -> None:
    """Of a folder of configs that somebody sent along."""
    text, told = EXPERIMENTS[kind]
    text = text.replace("THESIS", str(trap.thesis)).replace("OUTSIDE", str(trap.thesis.parent))
    arguments = trap.experiment(text)
    if kind == "no text":
        (trap.configs / "experiment" / "evil.yaml").write_bytes(b"a: \xff\x00")
    assert told in _told(arguments, monkeypatch, capsys)


SWEEPS = {
    "package of configs": (
        "hydra: {sweeper: {params: {hydra.searchpath: '[pkg://canary]'}}}",
        "may only contain",
    ),
    "jobs": ("hydra: {sweeper: {params: {seed: 'range(0, 1000000000)'}}}", "the sweep has 1000000000 jobs"),
    "jobs of many keys": (
        "hydra: {sweeper: {params: {seed: 'range(0,900)', threads: 'range(1,900)'}}}",
        "the sweep has 809100 jobs",
    ),
    "no end": ("hydra: {sweeper: {params: {seed: 'range(0, 1, 0)'}}}", "range(0, 1, 0)"),
    "target of one job": ("hydra: {sweeper: {params: {logger._target_: 'canary.touch,x'}}}", "may not call"),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_sweeps(kind: str, trap: Trap, monkeypatch, capsys) -> None:
    """An experiment brings a sweep, and the user adds -m."""
    text, told = SWEEPS[kind]
    assert told in _told(["-m", *trap.experiment(text)], monkeypatch, capsys)


COMMAND_LINES = {
    "package of configs": ("hydra.searchpath=[pkg://canary]", "may only contain folders"),
    "quoted package": ("hydra.searchpath=['pkg://canary']", "may only contain folders"),
    "added package": ("++hydra.searchpath=[pkg://canary]", "may only contain folders"),
    "module of configs": ("hydra.searchpath=['structured://canary']", "may only contain folders"),
    "no list": ("hydra.searchpath=pkg://canary", "hydra.searchpath must be a list"),
    "file of Hydra's logs": ("hydra/job_logging=default", "may only be 'logging.StreamHandler'"),
    "debug file of Hydra": ("hydra/hydra_logging=hydra_debug", "may only be 'logging.StreamHandler'"),
    "folders of Hydra": ("hydra/output=default", "hydra.run.dir is"),
    "config of another folder": ("experiment=../../other", "leads out of"),
    "secret": ("data.folder=${oc.env:PRIVATE_TOKEN}", "reads PRIVATE_TOKEN"),
    "secret in a list": ("+x=['${oc.env:PRIVATE_TOKEN}']", "reads PRIVATE_TOKEN"),
}


@pytest.mark.parametrize("kind", COMMAND_LINES)
def test_command_lines(kind: str, trap: Trap, monkeypatch, capsys) -> None:
    """A command that a README asks one to copy."""
    argument, told = COMMAND_LINES[kind]
    folder = ["--config-dir", str(trap.configs)]
    assert told in _told([*folder, "data.folder=x", argument], monkeypatch, capsys)


def test_a_folder_of_configs_is_read_once_it_is_looked_at(trap: Trap, monkeypatch, capsys) -> None:
    """What help shows, and what Hydra adds to its search path, is looked at as well."""
    more = trap.configs.parent / "more" / "experiment"
    more.mkdir(parents=True)
    (more / "evil.yaml").write_text(f"# @package _global_\na: &a [1]\n{ALIASES}\n")
    trap.before = trap.state()
    searched = [f"hydra.searchpath=[{more.parent}]", "experiment=evil", "data.folder=x"]
    for flags in ([], ["--help"], ["--cfg", "job"], ["-m"]):
        assert "stands for more than" in _told([*flags, *searched], monkeypatch, capsys)


def test_harmless_configs_pass(trap: Trap) -> None:
    """Aliases, references and names that the user allows are what they always were."""
    restrict_environment()
    config = OmegaConf.create({"a": [1, "${b.c}"], "b": {"c": "${.d}", "d": "${oc.env:PLACE}/x"}})
    with pytest.raises(UserError, match=r"b\.d reads PLACE of the environment.*HSPI_ALLOW_ENV=PLACE"):
        check_interpolations(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSPI_ALLOW_ENV", "OTHER, PLACE")
        patch.setenv("PLACE", "here")
        check_interpolations(config)
        assert OmegaConf.to_container(config, resolve=True) == {
            "a": [1, "here/x"],
            "b": {"c": "here/x", "d": "here/x"},
        }
    assert OmegaConf.create({"a": "${oc.env:WANDB_MODE,none}"}).a in ("none", os.environ.get("WANDB_MODE"))


def test_servers_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's, those of the environment, and those that the dashboard is told by it; nothing else."""
    monkeypatch.setenv("HSPI_ALLOW_SERVERS", "mlflow.lab, other.lab")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.lab/team")
    for address in ("http://localhost:5000", "http://127.0.0.1", "https://mlflow.lab:80/a", None):
        check_servers({"logger": {"tracking_uri": address}})
    check_servers({"logger": {"base_url": "https://wandb.lab/team"}})
    for key, address in {"tracking_uri": "https://wandb.lab/team", "base_url": "https://wandb.lab"}.items():
        with pytest.raises(
            UserError, match=rf"a\.0\.{key} is 'https://wandb\.lab.*HSPI_ALLOW_SERVERS=wandb\.lab"
        ):
            check_servers({"a": [{key: address}]})


def test_what_was_filled_in_is_not_filled_in_again(trap: Trap) -> None:
    """A text that only becomes an interpolation once it is filled in, or that a run folder brings."""
    for config in (
        OmegaConf.create({"bins": "\\${oc.env:PRIVATE_TOKEN}"}),
        {"bins": "${oc.env:PRIVATE_TOKEN}"},
    ):
        with pytest.raises(UserError, match=r"bins is .* once it is filled in"):
            check_config(config, dict)
        with pytest.raises(UserError, match=r"bins is .* once it is filled in"):
            build(config)


def _run_folder(trap: Trap, config: str) -> Path:
    folder = trap.root / "outside" / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "system.json").write_text("{}")
    (folder / "environment.json").write_text("{}")
    return folder


RUNS: dict[str, tuple[str, str]] = {
    "aliases without end": (f"a: &a [1, 1, 1]\n{ALIASES}", "stands for more than"),
    "secret": ("run_dir: x\nlogger: {project: '${oc.env:PRIVATE_TOKEN}'}", "once it is filled in"),
    "target": ("logger: {_target_: canary.touch}", "may not call"),
    "hydra node": ("hydra: {searchpath: ['pkg://canary']}", "hydra is not a known key"),
    "Python object": ("a: !!python/object/apply:canary.touch []", "no plain YAML"),
    "a list": ("[1, 2]", "holds a list"),
    "path as a name": ("task: {losses: {../x: 1}}", "slash or a dot"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_run_folders(kind: str, trap: Trap, monkeypatch, capsys) -> None:
    """The folder of a run that somebody sent along, to be resumed or loaded."""
    text, told = RUNS[kind]
    folder = _run_folder(trap, text)
    trap.before = trap.state()
    assert told in _told([f"resume={folder}"], monkeypatch, capsys)


@pytest.mark.parametrize("name", ["checkpoints", "logs", "logs/csv", "metrics.json"])
def test_run_folders_lead_nowhere_else(name: str, trap: Trap, monkeypatch, capsys) -> None:
    """A link in a run folder does not make a resumed run write to where it leads."""
    folder = _run_folder(trap, "seed: 0")
    (folder / "checkpoints").rmdir()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(trap.thesis if "." in name else trap.thesis.parent)
    (folder / "inside").symlink_to("config.yaml")
    trap.before = trap.state()
    assert f"{name} is a link that leads out" in _told([f"resume={folder}"], monkeypatch, capsys)


PROGRAMS: dict[str, Callable[[Trap], tuple[str, list[str], str]]] = {
    "log file": lambda trap: (
        "train",
        trap.experiment(EXPERIMENTS["log file"][0].replace("THESIS", str(trap.thesis))),
        "may only be 'logging.StreamHandler'",
    ),
    "voxels": lambda _: (
        "generate",
        ["output=data", "dataset.grid.shape=[2000,2000,2000]"],
        "grid.shape [2000, 2000, 2000] needs about 800 GB of memory, and 4 GB may be used",
    ),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs(kind: str, trap: Trap) -> None:
    """The real commands, each in a process of its own."""
    command, arguments, told = PROGRAMS[kind](trap)
    done = subprocess.run(
        [sys.executable, "-m", f"hspi_learn.commands.{command}", *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{trap.root / 'modules'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("generate", ["output=x", "dataset.licence=' '"], "dataset.licence is empty"),
        ("generate", ["output=x", "dataset.counts=[1e12,1e12]"], "GB of memory"),
        ("generate", ["output=x", "dataset.sizes={train: 1000000000000}"], "GB of memory"),
        (
            "generate",
            ["output=x", "dataset.energy_bins.count=10000000000"],
            "energy_bins.count 10000000000 needs",
        ),
        ("generate", ["output=x", "dataset.energy_bins.count=1000000"], "energy bins needs about"),
        (
            "generate",
            ["output=x", "camera.detector.rows=240000", "camera.detector.columns=240000"],
            "pixels and",
        ),
        ("benchmark", ["suite=physics_quick", "name=../x", "points=[decay]"], "name is ../x"),
        (
            "benchmark",
            ["suite=physics_quick", "name=thesis", "results=../outside", "points=[decay]"],
            "thesis.md is no page of results",
        ),
        (
            "reconstruct",
            ["input=x", "output=y.nii", "threads=0"],
            "threads is 0; it needs to be greater than",
        ),
    ],
)
def test_other_commands(
    command: str, arguments: list[str], told: str, trap: Trap, monkeypatch, capsys
) -> None:
    """Sizes and names are refused before anything is made of them."""
    monkeypatch.setattr(sys, "argv", [f"hspi-{command}", *arguments])
    with pytest.raises(SystemExit) as end:
        import_module(f"hspi_learn.commands.{command}").main()
    error = capsys.readouterr().err
    assert end.value.code == 2, error
    assert told in error
    assert error.count("\n") == 1
