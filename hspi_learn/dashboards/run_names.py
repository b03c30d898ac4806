"""How dashboards know a run: name, group, links to the runs that it builds on; and no passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from hspi_learn.io.run_folder import RunFolder

Data = TypeVar("Data")


def run_links(folder: RunFolder) -> dict[str, str]:
    """Under which names the dashboards know a run, for the runs that build on it."""
    if not folder.environment_file.is_file():
        return {"folder": str(folder.path)}
    links = {"folder": str(folder.path), "run_id": folder.run_id, "group": run_group(folder)}
    known = folder.logs / "mlflow_run_id"
    return links | ({"mlflow_run_id": known.read_text()} if known.is_file() else {})


def run_name(folder: RunFolder) -> str:
    """The name that people see: the folder's, with that of the sweep before it."""
    return f"{folder.sweep.name}/{folder.path.name}" if folder.sweep else folder.path.name


def run_group(folder: RunFolder) -> str:
    """What W&B shows together: the jobs of a sweep, and a training with its evaluations."""
    groups = [run["group"] for run in folder.trained.values() if "group" in run]
    return groups[0] if groups else (folder.sweep or folder.path).name


def without_passwords(value: Data) -> Data:
    """Text, or all text in a mapping, with ``user:password@`` taken out of addresses."""
    if isinstance(value, str):
        return re.sub(r"://[^/@\s]*@", "://", value)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {key: without_passwords(item) for key, item in value.items()}  # type: ignore[return-value]
    return value
