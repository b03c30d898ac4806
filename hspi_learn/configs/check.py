"""Checks of whole configs, made before anything of them is built or launched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_gen.core.errors import UserError
from hspi_learn.configs.packages import names_in_environment
from hspi_learn.configs.schema import checked_value, join, parameters_of, unknown_key
from hspi_learn.configs.targets import allowed, check_hydra_target, locate, present_node

_RESERVED = frozenset({"_args_", "_convert_", "_recursive_"})
_ENVIRONMENT = frozenset(
    {"CUDA_VISIBLE_DEVICES", "HSPI_CACHE_DIR", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "WANDB_MODE"}
)
_HANDLERS = frozenset({"logging.StreamHandler", "logging.FileHandler"})
_STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})


def check_config(config: DictConfig | Mapping[str, Any], settings: Callable[..., Any]) -> dict[str, Any]:
    """A command's config as plain resolved data, after checking every key, value and target in it.

    Args:
        config: the composed config, without the hydra node.
        settings: a dataclass whose fields are the keys of the command.

    Raises:
        UserError: a key is unknown, missing or of another type, or a target is not allowed.
    """
    names_in_environment()  # a wrong name there is told even where nothing uses it
    data = plain(config)
    check_targets(data, "")
    check_parameters(settings, data, "")
    return data


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
        UserError: a required value is missing or an interpolation fails.
    """
    if isinstance(config, DictConfig):
        try:
            missing = sorted(OmegaConf.missing_keys(config))
            resolved = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise UserError(" ".join(str(error).split())) from error
        if missing:
            raise _not_given(join(key, missing[0]))
    else:
        resolved = dict(config)
    assert isinstance(resolved, dict)
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


def check_hydra(hydra: DictConfig) -> None:
    """Check that Hydra's own node calls nothing but Hydra's launchers and sweeper.

    Raises:
        UserError: a callback, a foreign target or log handler, or an environment variable that can run code.
    """
    for name in hydra.callbacks or {}:
        raise UserError(f"hydra.callbacks.{name} is set; configs may not use callbacks, leave them empty")
    for name in hydra.job.env_set or {}:
        if name not in _ENVIRONMENT:
            allowed_names = ", ".join(sorted(_ENVIRONMENT))
            raise UserError(f"hydra.job.env_set.{name} is set; it may only set {allowed_names}")
    _check_calls(hydra, "hydra")


def _check_calls(node: DictConfig | ListConfig, key: str) -> None:
    """Refuse whatever in Hydra's node would be called: targets, and factories of log handlers."""
    if node._is_missing() or node._is_none():
        return
    names = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    for name in names:
        value, place = _resolved(node, name), join(key, name)
        if name == "_target_":
            check_hydra_target(value, key)
        if key.startswith(("hydra.job_logging", "hydra.hydra_logging")):
            _check_log_entry(name, value, place)
        if isinstance(value, (DictConfig, ListConfig)):
            _check_calls(value, place)


def _check_log_entry(name: object, value: object, place: str) -> None:
    """Refuse what Python's logging would import or call besides its plain handlers."""
    if name in ("()", ".", "factory", "filters") or (name == "class" and value not in _HANDLERS):
        raise UserError(f"{place} is {value!r}; log handlers may only be {' or '.join(sorted(_HANDLERS))}")
    if isinstance(value, str) and "://" in value and value not in _STREAMS:
        raise UserError(f"{place} is {value!r}; it may only be {' or '.join(sorted(_STREAMS))}")


def _resolved(node: DictConfig | ListConfig, name: Any) -> Any:
    """The value, or None where it is known only when a job runs (its output folder, say)."""
    try:
        return node[name]
    except OmegaConfBaseException:
        return None
