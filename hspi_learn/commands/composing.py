"""Configs composed from a command line as Hydra will compose them, before Hydra does."""

from __future__ import annotations

import argparse
import math
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

from data_gen.core.errors import UserError
from data_gen.core.foreign_files import check_yaml
from hspi_learn.commands.overrides import present_overrides
from hspi_learn.configs.check import check_folder_of_configs
from hspi_learn.configs.interpolations import check_interpolations

MOST_JOBS = 1000
"""Most jobs of a sweep, each of which is composed and checked before the first one starts; chosen."""

_NOT_COMPOSED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What Hydra and OmegaConf raise, besides their own exceptions, at configs that make no sense."""


def config_folder() -> Path:
    """Our configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def new_run_dir(name: str) -> str:
    """A folder that no other run has: date, time and four random digits."""
    return f"runs/{name}/{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(2)}"


def command_line(name: str, arguments: list[str]) -> argparse.Namespace:
    """Hydra's own reading of the command line, options and overrides in any order.

    ``run`` tells whether jobs are to be run, ``flags`` are the arguments that are not overrides.

    Raises:
        UserError: an option that would load a pickle, or configs that are not ours.
    """
    parser = get_args_parser()
    parser.prog = f"hspi-{name}"
    options = parser.parse_intermixed_args(arguments)
    options.flags = [a for a in arguments if a not in options.overrides]
    options.overrides = present_overrides(name, options.overrides)
    for option in ("experimental_rerun", "config_path", "config_name"):
        if getattr(options, option) is not None:
            flag = "--" + option.replace("_", "-")
            raise UserError(
                f"{flag} is given; it is not supported here, use --config-dir for configs of your own"
            )
    shows = (options.help, options.hydra_help, options.cfg, options.info, options.shell_completion)
    options.run = not any(shows)
    return options


def composed_jobs(name: str, options: argparse.Namespace) -> Iterator[DictConfig]:
    """The config of every job of the call, the hydra node included.

    Raises:
        UserError: an override does not parse, or names a key or an option that is not there; or the sweep has
            too many jobs.
    """
    loader = _loader(name, options)
    master = _composed(loader, name, options.overrides, _mode(options))
    if master.hydra.mode == RunMode.MULTIRUN and not options.multirun:
        raise UserError("hydra.mode is MULTIRUN; start a sweep with -m")
    if not options.multirun:
        yield master
        return
    for overrides in _swept(loader, name, master, options.overrides):
        yield _composed(loader, name, overrides, RunMode.RUN)


def _swept(
    loader: ConfigLoaderImpl, name: str, master: DictConfig, written: list[str]
) -> Iterator[list[str]]:
    """The overrides of each job of a sweep."""
    parser = OverridesParser.create(config_loader=loader)
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    with _in_a_sentence(loader, name):
        parsed = parser.parse_overrides(written)
        ours = [o for o in parsed if not o.is_hydra_override()]
        swept = [*parser.parse_overrides(params), *ours]
        jobs = math.prod(_choices(override) for override in swept)
        if jobs > MOST_JOBS:
            raise UserError(f"the sweep has {jobs} jobs; it needs {MOST_JOBS} at most, in several sweeps")
        batches = BasicSweeper.split_arguments(swept, None)
    hydras = [str(o.input_line) for o in parsed if o.is_hydra_override()]
    for batch in batches:
        yield from (hydras + overrides for overrides in batch)


def _choices(override: Override) -> int:
    """How many values an override sweeps over, none of them made."""
    value = override.value() if override.is_discrete_sweep() else None
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if isinstance(value, RangeSweep):
        if value.start is None or value.stop is None or not value.step:
            raise UserError(f"{override.input_line} has no end; it needs a start, a stop and a step")
        return max(1, math.ceil((value.stop - value.start) / value.step))
    return 1


def master_config(name: str, options: argparse.Namespace) -> DictConfig:
    """The config that Hydra shows, or takes launcher and sweeper from, its own node included.

    Raises:
        UserError: see :func:`composed_jobs`.
    """
    return _composed(_loader(name, options), name, options.overrides, _mode(options))


def _mode(options: argparse.Namespace) -> RunMode:
    return RunMode.MULTIRUN if options.multirun else RunMode.RUN


def _loader(name: str, options: argparse.Namespace) -> ConfigLoaderImpl:
    """Hydra's loader of our configs, and of those in the user's own folder."""
    setup_globals()
    JobRuntime.instance().set("name", name)
    search_path = create_config_search_path(str(config_folder()))
    if options.config_dir is not None:
        folder = Path(options.config_dir).resolve()
        if not folder.is_dir():
            raise UserError(
                f"--config-dir is {options.config_dir}, which is no folder; it needs a folder of configs"
            )
        search_path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(search_path)
    loader.repository = _CheckedRepository(search_path)
    return loader


class _CheckedRepository(ConfigRepository):
    """Hydra's reader of configs, which looks at every folder and file of others before it opens it.

    Hydra imports a package in order to look for configs in it, and fills in aliases of YAML without end.
    """

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Open the folders of configs.

        Raises:
            UserError: hydra.searchpath names a package, or a module that registers configs.
        """
        for entry in config_search_path.get_path():
            if str(entry.provider).startswith("hydra.searchpath"):
                check_folder_of_configs(entry.path)
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Read a config.

        Raises:
            UserError: it lies outside of its folder, or would grow beyond what a config may hold.
        """
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.scheme() == "file":
            folder = os.path.normpath(source.path)
            file = os.path.normpath(os.path.join(folder, source._normalize_file_name(config_path)))  # noqa: PTH118
            if not Path(file).is_relative_to(folder):
                raise UserError(f"{config_path} leads out of {folder}; a config lies in its folder")
            if source.provider != "main":
                check_yaml(Path(file))
        return super().load_config(config_path)


def _composed(loader: ConfigLoaderImpl, name: str, overrides: list[str], mode: RunMode) -> DictConfig:
    with _in_a_sentence(loader, name):
        config = loader.load_configuration(name, overrides, mode)
    check_interpolations(config)
    return config


@contextmanager
def _in_a_sentence(loader: ConfigLoaderImpl, name: str) -> Iterator[None]:
    """Tell what Hydra, OmegaConf and YAML say to a config, each in its own way, as a UserError."""
    try:
        yield
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"a config is no YAML: {' '.join(str(error).split())}") from error
    except HydraException as error:
        raise UserError(_told(error, loader, name)) from error
    except _NOT_COMPOSED as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"the config cannot be composed ({cause}); it needs plain keys and values") from error


def _told(error: HydraException, loader: ConfigLoaderImpl, name: str) -> str:
    """Hydra's complaint as one sentence with what would be right."""
    message = str(error)
    key = re.match(r"Could not override '([^']+)'", message)
    if key:
        return _unknown_key(key[1], loader, name)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"{group} is {option!r}; it needs one of {', '.join(sorted(error.options))}"
    cause = f" {error.__cause__}" if error.__cause__ else ""
    return " ".join((message + cause).split("\nSee https")[0].split())


def _unknown_key(key: str, loader: ConfigLoaderImpl, name: str) -> str:
    """What to say of a key that the config of a command does not have."""
    node: DictConfig = loader.load_configuration(name, [], RunMode.RUN)
    parts, known = key.split("."), 0
    while known < len(parts) - 1 and isinstance(node.get(parts[known]), DictConfig):
        node, known = node[parts[known]], known + 1
    part = parts[known]
    primary = loader.repository.load_config(name)
    choices = (
        [] if primary is None else [getattr(entry, "group", None) for entry in primary.defaults_list or ()]
    )
    if known == 0 and part in choices and part not in node:
        options = ", ".join(f"{part}={option}" for option in loader.get_group_options(part))
        return f"{key} is given, but no {part} is chosen; choose one as well: {options}"
    names = sorted(str(other) for other in node if other != "hydra")
    close = get_close_matches(part, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"it needs one of {', '.join(names)}"
    return f"{'.'.join(parts[: known + 1])} is not a known key; {hint}"
