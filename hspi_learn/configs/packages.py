"""Packages of one's own that configs may call, because the user has allowed them.

A config, a run folder and a checkpoint are data that people pass around, so none of them can allow a package.
The user can, in two ways:

* an installed package allows itself by entry points of the group ``hspi_learn.targets``: the value of each is
  a module (``my_package``) or one name in it (``my_package.networks:Network``);
* ``HSPI_ALLOW=my_package,other.networks`` in the environment names modules, or single classes and functions.

A module stands for all that is defined in it and in its submodules; what it merely imports from another
package is not allowed with it. Both lists are read as text: nothing is imported before a config calls it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data_gen.core.errors import UserError

VARIABLE = "HSPI_ALLOW"
"""Environment variable with the names that the user allows, separated by commas."""

ENTRY_POINTS = "hspi_learn.targets"
"""Group of entry points by which an installed package allows names of its own."""

OURS = frozenset({"data_gen", "hspi_learn"})
"""Packages whose names are allowed one by one, in :mod:`hspi_learn.configs.targets`."""

LIBRARIES = frozenset(
    {
        "antlr4",
        "cloudpickle",
        "filelock",
        "fsspec",
        "functorch",
        "h5py",
        "hydra",
        "hydra_plugins",
        "icrp107_database",
        "jinja2",
        "joblib",
        "lightning",
        "lightning_fabric",
        "matplotlib",
        "mlflow",
        "monai",
        "mpl_toolkits",
        "nibabel",
        "numpy",
        "omegaconf",
        "optuna",
        "pip",
        "pkg_resources",
        "pydantic",
        "pylab",
        "pytorch_lightning",
        "radioactivedecay",
        "rich",
        "safetensors",
        "scipy",
        "setuptools",
        "sqlalchemy",
        "sympy",
        "tensorboard",
        "torch",
        "torchgen",
        "torchmetrics",
        "wandb",
        "xraylib",
        "yaml",
    }
)
"""Libraries that this package stands on. Many of their functions load pickles, write files or call whatever
they are given, so none of them can be allowed; a function of one's own may call them."""


def user_allows(name: str) -> bool:
    """Whether the user has allowed the class or function of this dotted name; nothing is imported.

    Raises:
        UserError: what the user allows contains a name that cannot be allowed.
    """
    return "." in name and any(_lies_in(name, entry) for entry in _allowed_names())


def how_to_allow(name: str) -> str:
    """What a user can do to let configs call this name, as the end of a sentence.

    Raises:
        UserError: the environment variable contains a name that cannot be allowed.
    """
    package = name.partition(".")[0]
    refusal = _refusal(name)
    if refusal is not None:
        return f"{package} is {refusal}"
    entries = ",".join([*names_in_environment(), package])
    return (
        f"if you trust {package}, set {VARIABLE}={entries} in the environment, "
        f"or install it with an entry point {ENTRY_POINTS}"
    )


def locate_allowed(name: str, key: str) -> Callable[..., Any]:
    """The class or function of a dotted name that :func:`user_allows`.

    Args:
        name: module and name in it.
        key: dotted place of its node in the config, for messages; empty for the top of it.

    Raises:
        UserError: it does not exist, cannot be called, or is defined in a package that is not allowed.
    """
    module, _, attribute = name.rpartition(".")
    place = f"{key}._target_" if key else "_target_"
    told = f"{place} is {name!r}"
    try:
        space = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not _lies_in(module, error.name):
            raise
        raise UserError(
            f"{told}, but Python finds no module {error.name}; it needs to be installed or on PYTHONPATH"
        ) from error
    if not hasattr(space, attribute):
        raise UserError(f"{told}, but {module} has no {attribute}; it needs a class or function of it")
    found: Callable[..., Any] = getattr(space, attribute)
    if not callable(found):
        raise UserError(f"{told}, which is a {type(found).__name__}; it needs a class or function")
    home = getattr(found, "__module__", None)
    if not isinstance(home, str) or not _allowed_home(home, name):
        raise UserError(
            f"{told}, which configs may not call, as it is defined in {home or 'no module'}, not in what the "
            f"user allows; it needs a class or function of {name.partition('.')[0]} itself"
        )
    return found


def _allowed_home(home: str, name: str) -> bool:
    """Whether an object of this name, defined in the module ``home``, is covered by what the user allows.

    A single name that is allowed may be defined anywhere in its own package, as names in ``__init__.py`` are.
    """
    entries = _allowed_names()
    in_package = home.partition(".")[0] == name.partition(".")[0]
    return any(_lies_in(home, entry) for entry in entries) or (name in entries and in_package)


def _lies_in(name: str, entry: str) -> bool:
    """Whether a dotted name is ``entry`` or lies below it."""
    return name == entry or name.startswith(f"{entry}.")


def _allowed_names() -> list[str]:
    """Every name that the user allows: of the environment, then of installed packages."""
    return [*names_in_environment(), *_from_entry_points()]


def names_in_environment() -> list[str]:
    """Names in the environment variable :data:`VARIABLE`, checked.

    Raises:
        UserError: one is no dotted name, or cannot be allowed.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    for name in filter(None, names):
        refusal = _refusal(name)
        if refusal is not None:
            raise UserError(f"{VARIABLE} contains {name!r}, which is {refusal}")
    return [name for name in names if name]


def _from_entry_points() -> list[str]:
    """Names of the entry points of installed packages, checked."""
    names = []
    for entry in entry_points(group=ENTRY_POINTS):
        name = f"{entry.module}.{entry.attr}" if entry.attr else entry.module
        refusal = _refusal(name)
        if refusal is not None:
            package = entry.dist.name if entry.dist else "a package"
            raise UserError(f"the entry point {entry.name} of {package} allows {name!r}, which is {refusal}")
        names.append(name)
    return names


def _refusal(name: str) -> str | None:
    """Why nobody can allow this name, with what to do instead; None if it can be allowed."""
    package = name.partition(".")[0]
    own = "a function of a package of your own may call it instead"
    if not all(part.isidentifier() for part in name.split(".")) or package == "__main__":
        return "no dotted name of a module; it needs one as in my_package.networks"
    if package in sys.stdlib_module_names:
        return f"of Python's standard library and cannot be allowed; {own}"
    if package in LIBRARIES:
        return f"a library that hspi_learn stands on and cannot be allowed; {own}"
    if package in OURS:
        return "allowed name by name; the list is in hspi_learn.configs.targets"
    return None


def package_record(package: str) -> dict[str, str | None]:
    """Version of an installed package and SHA-256 of its source files, without importing it.

    Args:
        package: name of a top-level package or module.

    Returns:
        ``version`` (None for a package that is not installed, only on PYTHONPATH) and ``sha256``: the hash of
        every ``.py`` file with its path, in the order of the paths; None if there is no such package.
    """
    return {"version": _version(package), "sha256": _source_hash(package)}


def _version(package: str) -> str | None:
    """Version of the distribution that brings the package; an editable one is found by its own name."""
    for distribution in (*packages_distributions().get(package, ()), package):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _source_hash(package: str) -> str | None:
    """SHA-256 of the source files of a package."""
    spec = find_spec(package)
    if spec is None:
        return None
    digest = hashlib.sha256()
    for relative, file in sorted(_sources(spec.submodule_search_locations, spec.origin)):
        content = file.read_bytes()
        digest.update(f"{relative}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _sources(folders: Any, origin: str | None) -> Iterator[tuple[str, Path]]:
    """Source files of a package in these folders, or of the module in one file, by their relative path."""
    if folders is None:
        if origin is not None and Path(origin).is_file():
            yield Path(origin).name, Path(origin)
        return
    for folder in map(Path, folders):
        yield from ((file.relative_to(folder).as_posix(), file) for file in folder.rglob("*.py"))


def targets_in(value: Any) -> Iterator[str]:
    """Every ``_target_`` in plain data of a config, however deep."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for item in value.values():
            yield from targets_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from targets_in(item)


def packages_used(*configs: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """Record (see :func:`package_record`) of every package that configs call besides our own and
    :data:`LIBRARIES`.

    Args:
        configs: plain data of configs that passed their checks.
    """
    names = {name.partition(".")[0] for config in configs for name in targets_in(config)}
    return {name: package_record(name) for name in sorted(names - OURS - LIBRARIES)}
