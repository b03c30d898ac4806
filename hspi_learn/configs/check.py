"""Checks of whole configs, made before anything of them is built or launched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_gen.core.errors import UserError
from data_gen.core.memory import PROCESS_BYTES, check_memory
from hspi_learn.configs.interpolations import check_filled
from hspi_learn.configs.packages import names_in_environment
from hspi_learn.configs.schema import checked_value, join, parameters_of, unknown_key
from hspi_learn.configs.servers import check_servers
from hspi_learn.configs.targets import allowed, check_hydra_target, locate, present_node

_RESERVED = frozenset({"_args_", "_convert_", "_recursive_"})
_ENVIRONMENT = frozenset({"CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "WANDB_MODE"})
_FOLDERS = {
    "run.dir": (".",),
    "sweep.dir": ("${run_dir}", "${output}"),
    "sweep.subdir": ("${hydra.job.num}",),
}
"""Folders of Hydra's node, as ``conf/hydra/output`` writes them."""

_LAUNCHER = {
    "backend": None,
    "prefer": "processes",
    "require": None,
    "pre_dispatch": "2*n_jobs",
    "batch_size": "auto",
    "temp_folder": None,
    "max_nbytes": None,
    "mmap_mode": "r",
}
"""Settings of the joblib launcher that stay as they come."""

_LOGGING = ("version", "formatters", "handlers", "root", "loggers", "disable_existing_loggers")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_HANDLER = {"class": ("logging.StreamHandler",), "stream": _STREAMS, "formatter": (), "level": ()}
"""What a log handler may set, and to what; nothing named: to anything."""

_FORMATTER = {
    "format": (
        "%(message)s",
        "[%(asctime)s][HYDRA] %(message)s",
        "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
    )
}
"""What a log format may set, and to what: the formats are Hydra's."""

_NO_NAME = re.compile(r"[/\\\0]|^\.")


def check_config(config: DictConfig | Mapping[str, Any], settings: Callable[..., Any]) -> dict[str, Any]:
    """A command's config as plain resolved data, after checking every key, value and target in it.

    Args:
        config: the composed config, without the hydra node.
        settings: a dataclass whose fields are the keys of the command.

    Raises:
        UserError: a key is unknown, missing, of another type or no plain name, or a target or server is not
            allowed.
    """
    names_in_environment()  # a wrong name there is told even where nothing uses it
    data = plain(config)
    check_names(data)
    check_servers(data)
    check_targets(data, "")
    check_parameters(settings, data, "")
    return data


def check_names(value: Any, key: str = "") -> None:
    """Refuse keys that are no plain names: names of methods, cells and attacks become names of files."""
    if isinstance(value, dict):
        for name, item in value.items():
            if _NO_NAME.search(str(name)):
                raise UserError(
                    f"{join(key, name)!r} is a key with a slash or a dot at its start; it needs a plain name"
                )
            check_names(item, join(key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_names(item, join(key, index))


def check_targets(value: Any, key: str = "") -> None:
    """Refuse foreign targets anywhere, before any target is so much as imported."""
    if isinstance(value, dict):
        if "_target_" in value:
            allowed(value["_target_"], key)
        for name, item in value.items():
            check_targets(item, join(key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_targets(item, join(key, index))


def plain(config: DictConfig | Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """Resolved plain data of a config, nothing left to be filled in, targets under their present names.

    Raises:
        UserError: a required value is missing, an interpolation fails, or one is left once all are filled in.
    """
    if isinstance(config, DictConfig):
        try:
            missing = sorted(OmegaConf.missing_keys(config))
            resolved = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(" ".join(str(error).split())) from error
        except RecursionError as error:
            raise UserError(f"{key or 'the config'} is filled in with itself; it needs values") from error
        if missing:
            raise _not_given(join(key, missing[0]))
    else:
        resolved = dict(config)
    assert isinstance(resolved, dict)
    check_filled(resolved, key)
    return {str(name): value for name, value in _with_present_names(resolved).items()}


def _with_present_names(value: Any) -> Any:
    """The same data, with every target and its arguments under their present names."""
    if isinstance(value, dict):
        return present_node({name: _with_present_names(item) for name, item in value.items()})
    return [_with_present_names(item) for item in value] if isinstance(value, list) else value


def _not_given(key: str) -> UserError:
    return UserError(f"{key} is not given; set it with {key}=VALUE")


def check_node(node: Mapping[str, Any], key: str, given: Iterable[str] | None = None) -> dict[str, Any]:
    """The arguments of a node in the types that its target expects, nested nodes checked but not built.

    Args:
        node: plain data with ``_target_``.
        key: where the node stands in the config.
        given: arguments that the program hands over; None if it is not known yet.

    Raises:
        UserError: see :func:`check_config`.
    """
    target = locate(node["_target_"], key)
    partial = node.get("_partial_", False)
    if not isinstance(partial, bool):
        raise UserError(f"{join(key, '_partial_')} is {partial!r}; it needs true or false")
    arguments = {name: value for name, value in node.items() if name not in ("_target_", "_partial_")}
    return check_parameters(target, arguments, key, given, partial)


def check_parameters(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    key: str,
    given: Iterable[str] | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """The arguments in the types that ``target`` expects; see :func:`check_node`."""
    try:
        known = parameters_of(target)
    except ValueError as error:  # a class whose constructor is written in C
        raise UserError(
            f"{key} calls {target}, whose parameters Python cannot tell; wrap it in a function"
        ) from error
    handed = set(given or ())
    checked = {}
    for name, value in arguments.items():
        if name not in known:
            raise unknown_key(key, name, known)
        if name not in handed:
            checked[name] = checked_value(known[name], value, join(key, name))
            _check_inside(checked[name], join(key, name))
    for name, parameter in known.items():
        absent = parameter.required and name not in arguments and name not in handed
        # An object that the config lacks may still be handed over when the node is built.
        if absent and not partial and (parameter.writable or given is not None):
            raise _not_given(join(key, name))
    return checked


def _check_inside(value: Any, key: str) -> None:
    """Check every node inside of a value."""
    if isinstance(value, dict):
        for name in value:
            if name in _RESERVED or (name == "_partial_" and "_target_" not in value):
                raise UserError(f"{join(key, name)} is set, which configs may not use here; leave it out")
        if "_target_" in value:
            check_node(value, key)
            return
        for name, item in value.items():
            _check_inside(item, join(key, name))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            _check_inside(item, join(key, index))


def check_folder_of_configs(path: object) -> None:
    """Check that a part of hydra.searchpath is a folder: Hydra would import a package to look for configs.

    Raises:
        UserError: it is no folder.
    """
    if not isinstance(path, str) or ("://" in path and not path.startswith("file://")):
        raise UserError(f"hydra.searchpath contains {path}; it may only contain folders")


def check_hydra(hydra: DictConfig) -> None:
    """Check that Hydra's own node calls nothing but Hydra's launchers and sweeper, and writes nothing.

    Raises:
        UserError: a callback, a foreign target, a log handler or format of one's own, another folder than the
            command's, or an environment variable that can run code or move files.
    """
    for name in hydra.callbacks or {}:
        raise UserError(f"hydra.callbacks.{name} is set; configs may not use callbacks, leave them empty")
    for name in hydra.job.env_set or {}:
        if name not in _ENVIRONMENT:
            allowed_names = ", ".join(sorted(_ENVIRONMENT))
            raise UserError(f"hydra.job.env_set.{name} is set; it may only set {allowed_names}")
    _check_calls(hydra, "hydra")
    written: Any = OmegaConf.to_container(hydra, resolve=False)
    for path in written["searchpath"] or ():
        check_folder_of_configs(path)
    _check_folders(written)
    _check_launcher(written["launcher"])
    for key in ("job_logging", "hydra_logging"):
        _check_logging(written[key], f"hydra.{key}")


def _check_calls(node: DictConfig | ListConfig, key: str) -> None:
    """Refuse every foreign target in Hydra's node."""
    if node._is_missing() or node._is_none():
        return
    names = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    for name in names:
        value = _resolved(node, name)
        if name == "_target_":
            check_hydra_target(value, key)
        if isinstance(value, (DictConfig, ListConfig)):
            _check_calls(value, join(key, name))


def _resolved(node: DictConfig | ListConfig, name: Any) -> Any:
    """The value, or None where it is known only when a job runs (its output folder, say)."""
    try:
        return node[name]
    except OmegaConfBaseException:
        return None


def _check_folders(hydra: Mapping[str, Any]) -> None:
    """Refuse other folders of runs and sweeps than the command's: Hydra makes them without asking."""
    for key, written in _FOLDERS.items():
        part, name = key.split(".")
        found = _mapping(hydra[part], f"hydra.{part}").get(name)
        if found not in written:
            raise UserError(
                f"hydra.{key} is {found!r}; it may only be {' or '.join(written)}, since run_dir or "
                "output says where a command writes"
            )


def _check_launcher(launcher: Any) -> None:
    """Refuse settings of joblib that evaluate text or write files, and too many processes."""
    settings = _mapping(launcher, "hydra.launcher")
    for name, value in settings.items():
        if name in _LAUNCHER and value != _LAUNCHER[name]:
            raise UserError(f"hydra.launcher.{name} is {value!r}; it may only be {_LAUNCHER[name]!r}")
    jobs = settings.get("n_jobs", 1)
    if not isinstance(jobs, int):
        raise UserError(f"hydra.launcher.n_jobs is {jobs!r}; it needs a whole number")
    check_memory(PROCESS_BYTES * jobs, f"hydra.launcher.n_jobs {jobs}")


def _check_logging(written: Any, key: str) -> None:
    """Refuse what Python's logging would import, call or write besides Hydra's own lines on the terminal."""
    for name, value in _mapping(written, key).items():
        if name in ("handlers", "formatters"):
            for entry, settings in _mapping(value, f"{key}.{name}").items():
                _check_log_entry(settings, name, f"{key}.{name}.{entry}")
        elif name not in _LOGGING:
            raise UserError(f"{key}.{name} is set; it may only set {', '.join(_LOGGING)}")
    for place, text in _texts(written, key):
        if "://" in text and text not in _STREAMS:
            raise UserError(f"{place} is {text!r}; it may only be {' or '.join(_STREAMS)}")
        if "${" in text:
            raise UserError(f"{place} is {text!r}; it may only be written out")


def _check_log_entry(settings: Any, kind: str, key: str) -> None:
    """Refuse other handlers than to the terminal, and formats other than Hydra's."""
    allowed_values = _HANDLER if kind == "handlers" else _FORMATTER
    for name, value in _mapping(settings, key).items():
        if name not in allowed_values or (allowed_values[name] and value not in allowed_values[name]):
            choices = " or ".join(map(repr, allowed_values.get(name, ()))) or "left out"
            raise UserError(f"{key}.{name} is {value!r}; it may only be {choices}")


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    """A part of Hydra's node that holds keys; one that is absent holds none."""
    if value is None or value == "???":
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{key} is {str(value)[:80]!r}; it may only hold Hydra's own keys")
    return value


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in plain data, names of keys included, with its place."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield join(key, name), str(name)
            yield from _texts(item, join(key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, join(key, index))
    elif isinstance(value, str):
        yield key, value
