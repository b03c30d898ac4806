"""The way into every command: compose, check, and only then launch.

Hydra alone would run ``hydra.callbacks`` before our code sees the config, and exits 1 on a misspelt key.
Here every job of a call is composed and checked first. Nothing is written or called before that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from omegaconf import DictConfig, OmegaConf, open_dict

from data_gen.core.errors import UserError
from data_gen.core.memory import keep_freed_memory
from hspi_learn.commands.composing import (
    command_line,
    composed_jobs,
    config_folder,
    master_config,
    new_run_dir,
)
from hspi_learn.configs.check import check_config, check_hydra
from hspi_learn.configs.interpolations import restrict_environment

Job: TypeAlias = Callable[[DictConfig], Any]


@dataclass(frozen=True)
class Command:
    """What makes a command.

    Args:
        name: the primary config, ``conf/<name>.yaml``, and the program ``hspi-<name>``.
        job: what a job does with its checked config.
        settings: a dataclass whose fields are the keys of the config.
        resume: continues the run whose config it gets; None if the command cannot resume.
        folder_key: the key that holds the job's folder.
        after_sweep: gets the folder of a sweep (``-m``) at its end, also when some of its jobs failed.
    """

    name: str
    job: Job
    settings: Callable[..., Any]
    resume: Job | None = None
    folder_key: str = "run_dir"
    after_sweep: Callable[[Path], None] | None = None


def run_command(
    name: str,
    job: Job,
    settings: Callable[..., Any],
    resume: Job | None = None,
    folder_key: str = "run_dir",
    after_sweep: Callable[[Path], None] | None = None,
) -> None:
    """Run the command line to its end; wrong input exits with status 2. See :class:`Command`."""
    command, arguments = Command(name, job, settings, resume, folder_key, after_sweep), sys.argv[1:]
    keep_freed_memory()
    let_threads_sleep()
    restrict_environment()
    share_config_store()
    try:
        folder = _folder_to_resume(arguments)
        if folder is None:
            _launch(command, arguments)
        elif resume is None:
            raise UserError(f"resume={folder} is given; hspi-{name} cannot resume, run it again instead")
        else:
            resume(_saved_config(folder, settings))
    except UserError as error:
        print(f"hspi-{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read our output, `head` for instance, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def let_threads_sleep() -> None:
    """Have idle threads of torch sleep rather than spin, unless the user says otherwise; before torch loads.

    By OpenMP's default they wait for each other in a busy loop. Where other processes want the cores too, two
    threads of a sparse product then take 5 to 18 times the processor time of one; asleep, 1.1 to 1.2 times.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def share_config_store() -> None:
    """Have Hydra share the store of its built-in configs, which nobody changes, rather than copy it.

    It copies it once for each config group and each composition: more than half of the time of ``--help``.
    """
    from hydra.core.config_store import ConfigStore

    ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]


def _folder_to_resume(arguments: Sequence[str]) -> str | None:
    """The run folder of ``resume=FOLDER``, which stands alone: a resumed run is the run it was."""
    folders = [a.removeprefix("resume=") for a in arguments if a.startswith("resume=")]
    if not folders:
        return None
    if len(arguments) > 1:
        others = " ".join(a for a in arguments if not a.startswith("resume="))
        raise UserError(f"resume={folders[0]} comes with {others}; resume takes no other argument")
    return folders[0]


def _saved_config(folder: str, settings: Callable[..., Any]) -> DictConfig:
    """The config of a run folder, checked like any other."""
    from hspi_learn.configs.old_runs import translated
    from hspi_learn.configs.runs import warn_of_other_packages
    from hspi_learn.io.run_folder import RunFolder, check_links, read_config

    check_links(Path(folder))
    config = translated(read_config(folder))
    config["run_dir"] = folder  # the folder may have been moved since
    checked = check_config(config, settings)
    warn_of_other_packages(RunFolder(Path(folder)), checked)
    return OmegaConf.create(checked)


def _launch(command: Command, arguments: list[str]) -> None:
    """Check every job, then hand the same command line to Hydra."""
    options = command_line(command.name, arguments)
    if options.config_dir is not None or options.overrides:
        # Even help starts the log handlers that a config names. Our own configs alone are checked by tests.
        check_hydra(master_config(command.name, options).hydra)
    folder, unnamed = new_run_dir(command.name), False
    for config in composed_jobs(command.name, options) if options.run else ():
        check_hydra(config.hydra)
        with open_dict(config):
            del config["hydra"]
        if OmegaConf.select(config, command.folder_key, default="") is None:
            config[command.folder_key], unnamed = folder, True
        sweep = Path(check_config(config, command.settings)[command.folder_key])
    # Run folders describe themselves; Hydra's own copy of the config would only be in the way.
    added = ["hydra.output_subdir=null", *([f"{command.folder_key}={folder}"] if unnamed else [])]
    try:
        _hydra(
            command.name,
            _task(command, options.multirun),
            [*options.flags, *options.overrides, *(added if options.run else [])],
        )
    finally:
        if command.after_sweep and options.run and options.multirun:
            command.after_sweep(sweep)


def _task(command: Command, sweep: bool) -> Job:
    """The function that Hydra calls for each job."""

    def task(config: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig

        if sweep:
            config[command.folder_key] = HydraConfig.get().runtime.output_dir
        checked = OmegaConf.create(check_config(config, command.settings))
        try:
            return command.job(checked)
        except UserError as error:
            if sweep:  # the other jobs go on, and Hydra tells which one failed
                raise
            print(f"hspi-{command.name}: {error}", file=sys.stderr)
            sys.exit(2)

    return task


def _hydra(name: str, task: Job, arguments: list[str]) -> None:
    """Launch through Hydra, with exceptions that reach us instead of being printed and lost."""
    import hydra
    from hydra.errors import HydraException

    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [f"hspi-{name}", *arguments], "1"
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)(task)()
    except HydraException as error:
        raise UserError(" ".join(str(error).split())) from error
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR") if full is None else os.environ.update(HYDRA_FULL_ERROR=full)
