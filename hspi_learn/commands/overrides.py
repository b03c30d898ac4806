"""What users write on the command line, as overrides of the present configs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from data_gen.core.errors import UserError

RENAMED: Mapping[str, Mapping[str, str]] = {
    "generate": {
        "dataset.most_energy_groups": "model.reference_energies",
        "dataset.secondary": "model.scatter_terms",
        "dataset.scatter_voxel_mm": "model.scatter_voxel_mm",
    },
    "evaluate": {"objective.group": "objective.map"},
    "design": {"rays": "model.ray_sampling.rays", "most_energy_groups": "model.reference_energies"},
}
"""Former to present keys of each command."""

BY_ITSELF: Mapping[str, Mapping[str, str]] = {
    "reconstruct": {"camera.name_or_path": "camera=demo", "nuclide.nuclide": "nuclide=ra223"},
}
"""Keys that say by themselves what a group is for, and the choice that has such a key: a command that chooses
none, since most files know their own, needs it beneath."""

DATA_SET_KEYS = frozenset({"camera", "dataset", "model", "nuclide", "phantom", "projector", "readout"})
DATA_SET_READERS = frozenset({"evaluate", "export", "train"})
"""Keys of ``hspi-generate`` that these commands take from the data set instead."""

_OVERRIDE = re.compile(r"(?P<mark>\+{0,2}|~)(?P<key>[^=@~+]+)(?P<rest>.*)", re.DOTALL)
_OBJECTIVES = re.compile(r"(objectives\.\w+)\.group$")
_CAMERA_KEYS = re.compile(r"camera\.(?!_target_$|name_or_path$)")


def present_overrides(command: str, overrides: Iterable[str]) -> list[str]:
    """The overrides with former keys renamed, and keys of the camera free to be set.

    A camera's config names a file; which keys of that file a user changes, ``camera.detector.pitch_mm=0.5``
    say, no config can list beforehand. They are added where Hydra would ask for a leading ``++``, and the
    camera checks them.

    A camera's file or a nuclide by its name is enough where no camera or nuclide is chosen yet.

    Args:
        command: whose command line it is.
        overrides: as written, such as ``key=value``.

    Raises:
        UserError: a key that belongs to the data set, in a command that only reads one.
    """
    renamed, present = RENAMED.get(command, {}), []
    for override in overrides:
        parts = _OVERRIDE.fullmatch(override)
        if parts is None:
            present.append(override)
            continue
        if command in DATA_SET_READERS and re.split(r"[./]", parts["key"])[0] in DATA_SET_KEYS:
            raise UserError(
                f"{parts['key']} belongs to the data set, not to hspi-{command}; "
                "set it in hspi-generate, and point data.folder to what that writes"
            )
        key, mark = renamed.get(parts["key"], parts["key"]), parts["mark"]
        key = _OBJECTIVES.sub(r"\1.map", key)
        if _CAMERA_KEYS.match(key) and mark != "~":
            mark = "++"
        present.append(f"{mark}{key}{parts['rest']}")
    return _with_choices(command, present)


def _with_choices(command: str, overrides: list[str]) -> list[str]:
    """The overrides with the choice that a key of :data:`BY_ITSELF` needs before them, unless one is made."""
    keys = {override.partition("=")[0].lstrip("+") for override in overrides}
    needed = [
        choice
        for key, choice in BY_ITSELF.get(command, {}).items()
        if key in keys and choice.partition("=")[0] not in keys
    ]
    return needed + overrides
