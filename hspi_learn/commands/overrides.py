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
    "design": {"rays": "model.ray_sampling.rays", "most_energy_groups": "model.reference_energies"},
}
"""Former to present keys of each command."""

DATA_SET_KEYS = frozenset({"camera", "dataset", "model", "nuclide", "phantom", "projector", "readout"})
DATA_SET_READERS = frozenset({"evaluate", "export", "train"})
"""Keys of ``hspi-generate`` that these commands take from the data set instead."""

_OVERRIDE = re.compile(r"(?P<mark>\+{0,2}|~)(?P<key>[^=@~+]+)(?P<rest>.*)", re.DOTALL)
_CAMERA_KEYS = re.compile(r"camera\.(?!_target_$|name_or_path$)")


def present_overrides(command: str, overrides: Iterable[str]) -> list[str]:
    """The overrides with former keys renamed, and keys of the camera free to be set.

    A camera's config names a file; which keys of that file a user changes, ``camera.detector.pitch_mm=0.5``
    say, no config can list beforehand. They are added where Hydra would ask for a leading ``++``, and the
    camera checks them.

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
        if _CAMERA_KEYS.match(key) and mark != "~":
            mark = "++"
        present.append(f"{mark}{key}{parts['rest']}")
    return present
