"""Cameras by name, or from any YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from data_gen.camera.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.foreign_files import read_yaml

NAMED = Path(__file__).parent / "named"


def camera_names() -> list[str]:
    """Names of the cameras that come with the package."""
    return sorted(path.stem for path in NAMED.glob("*.yaml"))


def load_camera(
    name_or_path: str | Path,
    name: str | None = None,
    panels: Mapping[str, Any] | None = None,
    collimator: Mapping[str, Any] | None = None,
    detector: Mapping[str, Any] | None = None,
) -> Camera:
    """The camera of this name, or the one that a YAML file describes, with some of its keys changed.

    ``docs/cameras.md`` lists the keys.

    Args:
        name_or_path: a known camera or a YAML file.
        name: to be given to the camera; None: the file's.
        panels: keys of the panels that differ from the file, key to value.
        collimator: such keys of the collimator.
        detector: such keys of the detector, ``{"response": {"electronic_noise_kev": 1.0}}`` for instance.
            A response of another ``kind`` than the file's replaces it, constants included.

    Raises:
        UserError: no such name or file, no YAML, or a key that is missing, unknown or wrong.
    """
    path = Path(name_or_path)
    if str(name_or_path) in camera_names():
        path = NAMED / f"{name_or_path}.yaml"
    elif not path.is_file():
        close = get_close_matches(str(name_or_path), camera_names(), n=1)
        hint = f"did you mean {close[0]}" if close else f"it needs a YAML file or one of {camera_names()}"
        raise UserError(
            f"camera is {str(name_or_path)!r}, which is neither a file nor a known camera; {hint}"
        )
    try:
        data = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file; it needs plain keys and values in UTF-8") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds {type(data).__name__}; a camera file needs keys and values")
    changes = {"name": name, "panels": panels, "collimator": collimator, "detector": detector}
    given = {key: change for key, change in changes.items() if change is not None}
    return Camera.from_dict(_changed(data, given), source=str(path.name))


def _changed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested data with some values changed; lists are values, and so are parts that get another kind."""
    changed = dict(data)
    for key, change in changes.items():
        before = changed.get(key)
        changed[key] = change
        if isinstance(before, Mapping) and isinstance(change, Mapping):
            kind = before.get("kind")
            if change.get("kind", kind) == kind:
                changed[key] = _changed(before, change)
    return changed
