"""Write docs/cameras.md, the keys of a camera file, from the schema that checks them.

python scripts/camera_page.py
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from inspect import Parameter, getdoc, signature
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from data_gen.camera import camera_names
from data_gen.camera.detector_response import KINDS
from data_gen.camera.spec import CameraSpec
from data_gen.core.errors import UserError
from data_gen.detector.constants import CdTeConstants
from data_gen.materials import MATERIALS

PAGE = Path(__file__).parents[1] / "docs" / "cameras.md"
OWN: dict[str, Any] = {"material": "CdTe", "thickness_mm": 1.0, "pixel_pitch_mm": 1.0}
"""Arguments of a response that are the detector's own."""
UNITS = {
    "_cps_per_kev": "1/(s keV)",
    "_cm2_v": "cm2/V",
    "_fraction": "1",
    "_mm": "mm",
    "_um": "µm",
    "_deg": "degrees",
    "_kev": "keV",
    "_v": "V",
    "_k": "K",
}
HEAD = """# Cameras

A camera is a YAML file. `camera=NAME` chooses one of those that come along: {names}.
`camera.name_or_path=my_camera.yaml` chooses one of your own. Any key can be changed from the command line,
whichever file it comes from, in every command that takes a camera:

    hspi-generate output=datasets/wide camera=demo camera.collimator.diameter_mm=0.5
    hspi-generate output=datasets/noisy camera.detector.response.electronic_noise_kev=1.0
    hspi-design camera.name_or_path=my_camera.yaml camera.collimator.material=gold
    hspi-generate -m output=sweep camera.collimator.diameter_mm=0.35,0.5,0.7

The constants of `detector.response` that a file leaves out have the defaults of the two last tables; most
files say only `kind`. Those of kind cdte are CdTe's, for any material: CZT, germanium or silicon needs its
own. A response whose `kind` is changed starts from the defaults of the new kind. Semiconductors
({charge}) go with either kind; scintillators ({light}) need
`kind: gaussian`.

In Python: `load_camera("demo", collimator={{"diameter_mm": 0.5}})`. What a camera became is recorded whole,
in `system.json` of a run and in every file of a data set. The files themselves lie in
`data_gen/camera/named/`; copy one to start your own. Unknown keys and wrong values are told before anything
is computed.

`scripts/camera_page.py` writes this page from the schema in `data_gen/camera/spec.py`.
"""


def page() -> str:
    """The whole page."""
    names = ", ".join(f"`{name}`" for name in camera_names())
    charge, light = (
        ", ".join(name for name, material in MATERIALS.items() if material.kind == kind)
        for kind in ("semiconductor", "scintillator")
    )
    parts = [HEAD.format(names=names, charge=charge, light=light), *_tables(CameraSpec, "")]
    for kind, response in KINDS.items():
        parts.append(_response_table(kind, response))
    return "\n".join(parts)


def _tables(part: type[BaseModel], key: str) -> Iterator[str]:
    """A table of the keys of a part, and one of each part inside of it."""
    inside = {name: _part_of(field.annotation) for name, field in part.model_fields.items()}
    rows = []
    for name, field in part.model_fields.items():
        wanted = "keys" if inside[name] else _values(field.rebuild_annotation())
        default = "required" if field.default is PydanticUndefined else _shown(field.default)
        rows.append((name, _unit(name), wanted, default, " ".join((field.description or "").split())))
    about = " ".join((getdoc(part) or "").split())
    yield _table(f"`{key}`" if key else "The file", about, rows)
    for name, model in inside.items():
        if model is not None:
            yield from _tables(model, f"{key}.{name}" if key else name)


def _part_of(annotation: Any) -> type[BaseModel] | None:
    """The part of a description that a field holds, if it holds one."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return next((a for a in options if isinstance(a, type) and issubclass(a, BaseModel)), None)


def _response_table(kind: str, response: type) -> str:
    """A table of the constants of a detector response."""
    hints = get_type_hints(response)
    described = _arguments(CdTeConstants if issubclass(response, CdTeConstants) else response)
    rows = []
    for name, parameter in signature(response).parameters.items():
        if name not in OWN:
            default = "required" if parameter.default is Parameter.empty else _shown(parameter.default)
            wanted = _constant(response, name, parameter.default, hints[name])
            rows.append((name, _unit(name), wanted, default, described[name]))
    about = "Thickness, pixel pitch and material are those of the detector."
    return _table(f"`detector.response` of kind {kind}", about, rows)


def _constant(response: type, name: str, default: Any, hint: Any) -> str:
    """What a constant of a response may be: its words, or numbers from the least that the response takes."""
    if isinstance(default, str):
        return " or ".join(get_args(hint))
    whole = isinstance(default, int)
    try:
        response(**OWN, **{name: 0 if whole else 0.0})
    except UserError:
        return "whole number >= 1" if whole else "number > 0"
    return "whole number >= 0" if whole else "number >= 0"


def _arguments(described: type) -> dict[str, str]:
    """The arguments of a class with what its docstring says of them."""
    text = (getdoc(described) or "").partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join((said[0].upper() + said[1:]).split()) for name, said in found}


def _values(annotation: Any) -> str:
    """What a key may hold, from the JSON schema of its type."""
    return _told(TypeAdapter(annotation).json_schema())


def _told(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_told(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if schema["type"] == "array":
        items = schema.get("prefixItems")
        return f"({', '.join(map(_told, items))})" if items else f"list of: {_told(schema['items'])}"
    words = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "keys"}
    limits = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[name]:g}" for name, sign in limits.items() if name in schema]
    return " ".join([words.get(schema["type"], schema["type"]), *bounds])


def _shown(default: Any) -> str:
    """A default as YAML shows it."""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _unit(name: str) -> str:
    """The unit that a key's name ends in."""
    return next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")


def _table(title: str, about: str, rows: list[tuple[str, str, str, str, str]]) -> str:
    lines = [
        f"## {title}",
        "",
        about,
        "",
        "| key | unit | value | default | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{name}` | {' | '.join(cells)} |" for name, *cells in rows]
    return "\n".join(lines).replace("``", "`") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
