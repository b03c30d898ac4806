"""Construction of the detector response that a camera file asks for, from its kind and constants.

Units are those of the response's own arguments (mm, keV, V, K).
"""

from __future__ import annotations

import inspect
import math
from difflib import get_close_matches

from data_gen.camera.spec import DetectorSpec
from data_gen.core.errors import UserError
from data_gen.detector import CdTeResponse, DetectorResponse, GaussianResponse
from data_gen.materials import material_named

KINDS = {"cdte": CdTeResponse, "gaussian": GaussianResponse}
_WORDS = ("mode",)
"""Constants that are strings; all others are numbers."""


def build_response(detector: DetectorSpec, source: str) -> DetectorResponse:
    """The response named by ``kind``; material, thickness and pixel pitch are the detector's own.

    Raises:
        UserError: an unknown kind or material, a scintillator whose charge is to be collected, an unknown
            constant, or one that is no finite number.
    """
    constants = dict(detector.response)
    kind = constants.pop("kind", None)
    if kind not in KINDS:
        raise UserError(
            f"{source}: detector.response.kind is {kind!r}; it needs to be one of {sorted(KINDS)}"
        )
    material = material_named(detector.material)
    if kind == "cdte" and material.kind != "semiconductor":
        raise UserError(
            f"{source}: detector.material is {material.name}, a {material.kind}, but its response is of kind "
            "cdte, charge that drifts in a field; it needs a semiconductor, or kind: gaussian as in "
            "camera=nai_pinhole"
        )
    own = {
        "material": detector.material,
        "thickness_mm": detector.thickness_mm,
        "pixel_pitch_mm": detector.pitch_mm,
    }
    known = inspect.signature(KINDS[kind]).parameters
    free = [name for name in known if name not in own]
    for name, value in constants.items():
        if name not in free:
            close = get_close_matches(name, free, n=1)
            hint = f"did you mean {close[0]}" if close else f"it needs to be one of {free}"
            raise UserError(f"{source}: detector.response.{name} is no constant of a {kind} response; {hint}")
        if not (isinstance(value, str) if name in _WORDS else _is_number(value)):
            need = "a word" if name in _WORDS else "a finite number"
            raise UserError(f"{source}: detector.response.{name} is {value!r}; it needs {need}")
    given = {name: value for name, value in own.items() if name in known}
    response: DetectorResponse = KINDS[kind](**given, **constants)
    return response


def _is_number(value: object) -> bool:
    """A finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
