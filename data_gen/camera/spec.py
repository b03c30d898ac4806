"""The schema of a camera file: plain data that describes panels, collimator and detector, lengths in mm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_gen.core.errors import UserError
from data_gen.core.memory import check_memory

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

POINT_BYTES = 100
"""Memory of a pixel or an aperture: coordinates, numbers of row, column and panel, and copies; chosen."""

PAIR_BYTES = 64
"""Memory of a pair of pixel and aperture: two indices and the copies that are sorted; chosen."""


class _Part(BaseModel):
    """Part of a description: unknown keys are mistakes. What is written under a field is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RotationSpec(_Part):
    """The ring rotates about z to ``steps`` positions, evenly over ``arc_deg``, for equal times."""

    steps: Count
    """Stops."""
    arc_deg: Positive = 360.0
    """Angle over which they are spread."""


class PanelSpec(_Part):
    """Where the panels stand: at angles about z, 0 on the x axis, facing the isocentre."""

    angles_deg: Annotated[tuple[Finite, ...], Field(min_length=1)]
    """One panel at each."""
    detector_mm: Positive
    """Isocentre to the detector's entrance face."""
    axial_mm: Finite = 0.0
    """Shift of all panels along z."""
    rotation: RotationSpec | None = None
    """How the ring of panels turns; without it, it stands still."""


class DetectorSpec(_Part):
    """The detector of one panel: rows along z, columns along the ring."""

    material: str
    """A material of ``data_gen.materials``: CdTe, CZT, NaI, ..."""
    thickness_mm: Positive
    """Depth of the crystal."""
    rows: Count
    """Pixels along z."""
    columns: Count
    """Pixels along the ring."""
    pitch_mm: Positive
    """Edge of a pixel."""
    background_cps_per_kev: NotNegative = 0.0
    """Counts a second and keV in each pixel, without any source."""
    response: dict[str, Any]
    """``kind`` (cdte or gaussian) and the constants of that response, which the tables below list."""


class CollimatorSpec(_Part):
    """The plate in front of one panel and its apertures.

    Apertures are double cones (``knife_edge``, opening in full by ``opening_deg``) or double lofts
    (``loft_hole``: round at the waist, opening to the rectangle that shows a whole block of pixels). Either
    ``apertures`` or ``positions_mm`` says where they are.
    """

    material: str
    """A metal of ``data_gen.materials``: tungsten, gold, lead, platinum, ..."""
    plane_mm: Positive
    """Isocentre to the plane of the waists, the middle of the plate."""
    plate_mm: Positive
    """Thickness of the plate."""
    shape: Literal["knife_edge", "loft_hole"]
    """Shape of every aperture."""
    diameter_mm: Positive
    """Diameter of the waist, the narrowest part of an aperture."""
    opening_deg: Annotated[float, Field(gt=0, lt=180)] | None = None
    """Full opening angle of a knife edge."""
    apertures: tuple[Count, Count] | None = None
    """(Rows, columns) of equal blocks of pixels, each with an aperture on the line from the block's centre to
    the isocentre."""
    positions_mm: Annotated[tuple[tuple[Finite, Finite], ...], Field(min_length=1)] | None = None
    """(Row, column) on the plate of each aperture, from its middle."""
    aim: Literal["isocentre", "normal"] = "isocentre"
    """Direction of the aperture axes."""
    septa: bool = False
    """Walls between the blocks, from the plate's back face to the detector, of the plate's material, upright
    on the block boundaries. Without them a pixel sees every aperture of its panel."""
    septa_mm: Positive = 1.0
    """Their thickness."""

    @model_validator(mode="after")
    def _agree(self) -> CollimatorSpec:
        if (self.apertures is None) == (self.positions_mm is None):
            raise ValueError("give either apertures (rows, columns) or positions_mm")
        if self.positions_mm is not None and (self.septa or self.shape == "loft_hole"):
            raise ValueError("septa and loft holes need blocks of pixels: give apertures, not positions_mm")
        if (self.opening_deg is None) == (self.shape == "knife_edge"):
            raise ValueError(
                "opening_deg belongs to a knife_edge, and only there (a loft hole shows its block)"
            )
        return self


class CameraSpec(_Part):
    """A whole camera."""

    name: Annotated[str, Field(min_length=1)]
    """What tables and messages call it."""
    panels: PanelSpec
    """Where the panels stand."""
    collimator: CollimatorSpec
    """The plate in front of each panel."""
    detector: DetectorSpec
    """The pixels of each panel."""

    @model_validator(mode="after")
    def _agree(self) -> CameraSpec:
        plate, detector = self.collimator, self.detector
        if plate.plane_mm + plate.plate_mm / 2 >= self.panels.detector_mm:
            raise ValueError("the collimator plate must end before panels.detector_mm")
        if plate.plane_mm <= plate.plate_mm / 2:
            raise ValueError("collimator.plane_mm must exceed half of collimator.plate_mm")
        blocks = plate.apertures or (1, 1)
        if detector.rows % blocks[0] or detector.columns % blocks[1]:
            raise ValueError("detector.rows and columns must be multiples of collimator.apertures")
        return self


def checked_spec(data: Mapping[str, Any], source: str) -> CameraSpec:
    """The description in ``data``, after checking it.

    Raises:
        UserError: a key is missing, unknown or wrong, or the camera does not fit into memory; ``source``
            says where.
    """
    try:
        spec = CameraSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"]) or "camera"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{source}: {key} is no key of a camera; {_hint(first['loc'])}") from error
        found = "" if isinstance(first["input"], Mapping) else f" is {first['input']!r}"
        raise UserError(f"{source}: {key}{found}: {first['msg'].removeprefix('Value error, ')}") from error
    _check_size(spec, source)
    return spec


def _check_size(spec: CameraSpec, source: str) -> None:
    """Refuse more pixels, or pairs of pixel and aperture, than fit into memory."""
    panels, plate = spec.panels, spec.collimator
    count = len(panels.angles_deg) * (panels.rotation.steps if panels.rotation else 1)
    holes = len(plate.positions_mm) if plate.positions_mm else math.prod(plate.apertures or (1, 1))
    pixels = count * spec.detector.rows * spec.detector.columns
    pairs = pixels * (1 if plate.septa else holes)
    check_memory(
        POINT_BYTES * (pixels + count * holes) + PAIR_BYTES * pairs,
        f"{source}: a camera of {pixels} pixels and {count * holes} apertures",
    )


def _hint(place: Sequence[int | str]) -> str:
    """What an unknown key could have been."""
    part: Any = CameraSpec
    for step in place[:-1]:
        annotation = part.model_fields[step].annotation
        part = next((a for a in get_args(annotation) if a is not type(None)), annotation)
    known = list(part.model_fields)
    close = get_close_matches(str(place[-1]), known, n=1)
    return f"did you mean {close[0]}" if close else f"it needs one of {known}"
