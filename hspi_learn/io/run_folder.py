"""The folder of a run: what was asked, on what, with which versions, and what came out.

config.yaml         resolved config             metrics.json      flat name -> number
system.json         imaging system              model.safetensors weights of the best validation
environment.json    versions, commit, data      checkpoints/      last.ckpt, best.ckpt
logs/               CSV and dashboards          figures/          PNG
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_gen.core import foreign_files
from data_gen.core.errors import UserError
from hspi_learn.io.atomic import write_json, write_text


@dataclass(frozen=True)
class RunFolder:
    """A run folder; :meth:`fresh` and :meth:`existing` check which of the two it is."""

    path: Path

    @classmethod
    def fresh(cls, path: str | Path) -> RunFolder:
        """A folder for a new run; it may exist, but empty.

        Raises:
            UserError: something is there already.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"run_dir is {path}, which is not empty; choose another, or continue with resume={path}"
            )
        return cls(folder)

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was started.

        Raises:
            UserError: no run was started there.
        """
        folder = cls(Path(path))
        if not folder.config_file.is_file():
            raise UserError(f"{path} holds no config.yaml; it needs to be the folder of a run")
        return folder

    @property
    def config_file(self) -> Path:
        """The resolved config; its presence means that the run was started."""
        return self.path / "config.yaml"

    @property
    def last_checkpoint(self) -> Path:
        """Where training stands."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """Where validation was best."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def weights_file(self) -> Path:
        """The published weights."""
        return self.path / "model.safetensors"

    @property
    def system_file(self) -> Path:
        """The imaging system that the run was trained for."""
        return self.path / "system.json"

    @property
    def environment_file(self) -> Path:
        """Versions, commit, seed and data."""
        return self.path / "environment.json"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.path / "figures"

    @property
    def logs(self) -> Path:
        """Folder of CSV and dashboards."""
        return self.path / "logs"

    @property
    def run_id(self) -> str:
        """A name that no other run has; dashboards continue a resumed run under it."""
        found = read_json(self.environment_file).get("run_id")
        if not isinstance(found, str) or not re.fullmatch(r"[\w-]{1,64}", found):
            raise UserError(
                f"{self.environment_file} has run_id {str(found)[:80]!r}; it needs the one of its run"
            )
        return found

    @property
    def trained(self) -> dict[str, dict[str, str]]:
        """The training runs that this run evaluates, by method: folder and names in dashboards."""
        found = read_json(self.environment_file).get("trained", {})
        return {str(name): dict(run) for name, run in found.items()}

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep (``-m``) that the run is a job of, None for a run of its own."""
        parent = self.path.resolve().parent
        return parent if (parent / "multirun.yaml").is_file() else None

    def describe(self, config: Mapping[str, Any], system: Mapping[str, Any], environment: Any) -> None:
        """Write what the run is, the config last."""
        write_json(self.system_file, system)
        write_json(self.environment_file, environment)
        write_text(self.config_file, yaml.safe_dump(dict(config), sort_keys=False))

    @property
    def metrics_file(self) -> Path:
        """What came out; its presence means that the run is finished."""
        return self.path / "metrics.json"

    def metrics(self) -> dict[str, float]:
        """What came out.

        Raises:
            UserError: there is no such file, or a value in it is no number.
        """
        found = read_json(self.metrics_file)
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UserError(f"{self.metrics_file}: {name} is {value!r}; it needs a number")
        return {name: float(value) for name, value in found.items()}

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Write ``metrics.json``."""
        write_json(self.metrics_file, dict(metrics))


def check_links(folder: Path) -> None:
    """Refuse a run folder with links out of it, through which a resumed run would write elsewhere.

    Raises:
        UserError: there is one.
    """
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise UserError(
                f"{path} is a link that leads out of {folder}; a run that goes on needs its own files"
            )


def read_config(path: str | Path) -> dict[str, Any]:
    """The resolved config of a run folder; it is data, to be checked before anything is built.

    Raises:
        UserError: there is none, or it is not a mapping in plain YAML.
    """
    file = RunFolder.existing(path).config_file
    try:
        config = foreign_files.read_yaml(file)
    except UserError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(
            f"{file} is no plain YAML ({' '.join(str(error).split())}); it needs a run's config"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds a {type(config).__name__}; it needs the keys of a run's config")
    return {str(key): value for key, value in config.items()}


def flat_config(config: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """A nested config as dotted name to value, as the command line names them; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        dotted = f"{key}.{name}" if key else str(name)
        flat |= flat_config(value, dotted) if isinstance(value, Mapping) and value else {dotted: value}
    return flat


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: the file is missing, truncated or no object.
    """
    try:
        data = foreign_files.read_json(path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it needs to be a JSON file of a run") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}; it needs a JSON object")
    return data
