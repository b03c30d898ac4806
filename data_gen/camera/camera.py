"""A pinhole camera as tensors: pixels and apertures in mm, and the pairs of them that the sharp image is
traced for.

Built from a camera file: fields in ``spec.py``, what they mean in docs/cameras.md.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from data_gen.camera.detector_response import build_response
from data_gen.camera.spec import CameraSpec, checked_spec
from data_gen.core.errors import UserError
from data_gen.materials import composition, density_g_cm3

if TYPE_CHECKING:
    from data_gen.detector import DetectorResponse


@dataclass(frozen=True, eq=False)
class Camera:
    """Panels of pixels behind plates with apertures; lengths in mm, float64, origin at the isocentre.

    A rotating camera has one panel per rotation position. Geometry is plain tensors, so
    ``dataclasses.replace`` with tensors that require gradients gives gradients in poses and diameters.
    Pixels are ordered by panel, row, column.
    """

    spec: CameraSpec
    """What the tensors were built from."""
    pixel_centre_mm: Tensor
    """[pixel, 3], on the detector's entrance face."""
    panel_u: Tensor
    """Direction of rising columns, [panel, 3]."""
    panel_v: Tensor
    """Direction of rising rows, [panel, 3]."""
    panel_normal: Tensor
    """From the isocentre through plate and detector, [panel, 3]."""
    aperture_panel: Tensor
    """Panel of each aperture, [aperture] int64."""
    aperture_centre_mm: Tensor
    """Centre of the waist, [aperture, 3]."""
    aperture_axis: Tensor
    """Unit vector from the object to the detector, [aperture, 3]."""
    aperture_diameter_mm: Tensor
    """Diameter of the round waist, mm, [aperture]."""
    aperture_opening: Tensor
    """Tangents of the half opening angles along (u, v), [aperture, 2]: the opening's half size grows by
    this times the distance from the waist."""
    pairs: Tensor
    """(pixel, aperture) pairs traced for the sharp image, [pair, 2] int64, pixels rising: without septa every
    aperture of the pixel's panel, with septa the aperture of the pixel's own block. No visibility is tested.
    """
    response: DetectorResponse
    """Detector response: recorded energy and pixel, given a first interaction."""

    @property
    def name(self) -> str:
        """Name of the camera."""
        return self.spec.name

    @property
    def panels(self) -> int:
        """Number of panels, each rotation position counted separately."""
        return len(self.panel_normal)

    @property
    def pixel_count(self) -> int:
        """Number of pixels."""
        return len(self.pixel_centre_mm)

    @property
    def aperture_count(self) -> int:
        """Number of apertures."""
        return len(self.aperture_centre_mm)

    @property
    def shape(self) -> Literal["knife_edge", "loft_hole"]:
        """Shape of the apertures."""
        return self.spec.collimator.shape

    @property
    def pitch_mm(self) -> float:
        """Edge of a pixel in mm."""
        return self.spec.detector.pitch_mm

    @property
    def plate_mm(self) -> float:
        """Thickness of the collimator plate in mm."""
        return self.spec.collimator.plate_mm

    @property
    def collimator_material(self) -> str:
        """Material of the collimator plate."""
        return self.spec.collimator.material

    @property
    def detector_material(self) -> str:
        """Material of the detector."""
        return self.spec.detector.material

    @property
    def detector_thickness_mm(self) -> float:
        """Thickness of the detector in mm."""
        return self.spec.detector.thickness_mm

    @property
    def materials(self) -> dict[str, Any]:
        """Density and mass fractions of collimator and detector, by name, for the keys of caches."""
        return {name: composition(name) for name in (self.collimator_material, self.detector_material)}

    @property
    def background_cps_per_kev(self) -> float:
        """Background of each pixel in counts a second and keV."""
        return self.spec.detector.background_cps_per_kev

    @property
    def pixel_panel(self) -> Tensor:
        """Panel of each pixel, [pixel] int64."""
        return torch.arange(self.pixel_count) // (self.spec.detector.rows * self.spec.detector.columns)

    @property
    def pixel_row(self) -> Tensor:
        """Row of each pixel on its panel, [pixel] int64."""
        return torch.arange(self.pixel_count) // self.spec.detector.columns % self.spec.detector.rows

    @property
    def pixel_column(self) -> Tensor:
        """Column of each pixel on its panel, [pixel] int64."""
        return torch.arange(self.pixel_count) % self.spec.detector.columns

    @property
    def time_fraction(self) -> Tensor:
        """Fraction of the scan that each pixel measures, [pixel]: 1 on a ring, 1/n at each of n rotation
        positions.
        """
        rotation = self.spec.panels.rotation
        return torch.full((self.pixel_count,), 1.0 / (rotation.steps if rotation else 1), dtype=torch.float64)

    @property
    def asked_gradients(self) -> list[str]:
        """Names of its tensors that require a gradient."""
        return [n for n, part in vars(self).items() if isinstance(part, Tensor) and part.requires_grad]

    def check_fixed(self, part: str) -> None:
        """Refuse a camera whose gradients a part of a model would lose.

        Raises:
            UserError: a tensor of the camera requires a gradient.
        """
        if self.asked_gradients:
            raise UserError(
                f"camera.{self.asked_gradients[0]} requires a gradient, which {part} does not give; detach "
                "it, or use the ray projector (model.projector=ray) with no scatter term but leakage"
            )

    def neighbours(self, offset: tuple[int, int]) -> Tensor:
        """Pixel at (row, column) + offset of the same panel, [pixel] int64; -1 where there is none."""
        row, column = self.pixel_row + offset[0], self.pixel_column + offset[1]
        rows, columns = self.spec.detector.rows, self.spec.detector.columns
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return torch.where(inside, (self.pixel_panel * rows + row) * columns + column, -1)

    def to(self, device: torch.device | str) -> Camera:
        """The same camera with its tensors on a device; gradients flow back through the copies."""
        parts: dict[str, Any] = vars(self)
        moved: dict[str, Any] = {n: p.to(device) for n, p in parts.items() if isinstance(p, Tensor)}
        return replace(self, **moved)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` builds the camera from (replaced tensors are not in it)."""
        return self.spec.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "camera") -> Camera:
        """The camera that plain data describes.

        Raises:
            UserError: a key is missing, unknown or wrong.
        """
        return build_camera(checked_spec(data, source))

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of the spec; cameras with replaced tensors share it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def build_camera(spec: CameraSpec) -> Camera:
    """The camera of a checked description.

    Raises:
        UserError: a material or a constant of the response is unknown or wrong.
    """
    for material in (spec.collimator.material, spec.detector.material):
        density_g_cm3(material)
    u, v, normal = _panel_axes(spec)
    pixels = _pixels(spec, u, v, normal)
    local = _apertures(spec)
    panels, holes = len(normal), len(local)
    centre = _placed(local, spec.collimator.plane_mm, spec.panels.axial_mm, u, v, normal)
    axis = normal[:, None].expand_as(centre)
    if spec.collimator.aim == "isocentre":
        axis = centre / centre.norm(dim=-1, keepdim=True)
    return Camera(
        spec=spec,
        pixel_centre_mm=pixels.reshape(-1, 3),
        panel_u=u,
        panel_v=v,
        panel_normal=normal,
        aperture_panel=torch.arange(panels).repeat_interleave(holes),
        aperture_centre_mm=centre.reshape(-1, 3).contiguous(),
        aperture_axis=axis.reshape(-1, 3).contiguous(),
        aperture_diameter_mm=torch.full((panels * holes,), spec.collimator.diameter_mm, dtype=torch.float64),
        aperture_opening=_opening(spec).expand(panels * holes, 2).clone(),
        pairs=_pairs(spec, panels, holes),
        response=build_response(spec.detector, spec.name),
    )


def _panel_axes(spec: CameraSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Column, row and outward directions of every panel at every rotation position, [panel, 3] each."""
    rotation = spec.panels.rotation
    stops = [k * rotation.arc_deg / rotation.steps for k in range(rotation.steps)] if rotation else [0.0]
    angle = torch.tensor(
        [math.radians(a + s) for s in stops for a in spec.panels.angles_deg], dtype=torch.float64
    )
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    u = torch.stack((-sin, cos, zero), dim=1)
    v = torch.stack((zero, zero, zero + 1), dim=1)
    return u, v, torch.stack((cos, sin, zero), dim=1)


def _placed(
    local: Tensor, distance_mm: float, axial_mm: float, u: Tensor, v: Tensor, normal: Tensor
) -> Tensor:
    """Points of a plane of each panel in space, [panel, k, 3] mm.

    Args:
        local: (along v, along u) from the panel's middle, [k, 2] mm.
        distance_mm: isocentre to plane.
        axial_mm: shift of the panels along v.
        u: columns' direction [panel, 3].
        v: rows' direction [panel, 3].
        normal: outward direction [panel, 3].
    """
    middle = distance_mm * normal + axial_mm * v
    return middle[:, None] + local[:, 0, None] * v[:, None] + local[:, 1, None] * u[:, None]


def _steps(count: int, pitch_mm: float) -> Tensor:
    """Centres of ``count`` intervals of ``pitch_mm`` about 0, [count] mm."""
    return (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * pitch_mm


def _lattice(rows: Tensor, columns: Tensor) -> Tensor:
    """All pairs of a row's and a column's position, [k, 2]."""
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)


def _pixels(spec: CameraSpec, u: Tensor, v: Tensor, normal: Tensor) -> Tensor:
    """Pixel centres on the entrance face, [panel, k, 3] mm."""
    detector = spec.detector
    local = _lattice(_steps(detector.rows, detector.pitch_mm), _steps(detector.columns, detector.pitch_mm))
    return _placed(local, spec.panels.detector_mm, spec.panels.axial_mm, u, v, normal)


def _block_mm(spec: CameraSpec) -> tuple[float, float]:
    """Size of the block of pixels behind an aperture along (v, u), mm."""
    rows, columns = spec.collimator.apertures or (1, 1)
    detector = spec.detector
    return detector.rows * detector.pitch_mm / rows, detector.columns * detector.pitch_mm / columns


def _apertures(spec: CameraSpec) -> Tensor:
    """Aperture centres (along v, along u) on the plate, [aperture, 2] mm."""
    plate = spec.collimator
    if plate.positions_mm is not None:
        return torch.tensor(plate.positions_mm, dtype=torch.float64)
    rows, columns = plate.apertures or (1, 1)
    block = _block_mm(spec)
    # On the line from the block's centre to the isocentre, seen along the ring and along z.
    towards = plate.plane_mm / spec.panels.detector_mm
    row = _steps(rows, block[0]) * towards - spec.panels.axial_mm * (1 - towards)
    return _lattice(row, _steps(columns, block[1]) * towards)


def _opening(spec: CameraSpec) -> Tensor:
    """Tangents of the half opening angles along (u, v), [2]; docs/physics.md, section 4."""
    plate = spec.collimator
    if plate.opening_deg is not None:
        return torch.full((2,), math.tan(math.radians(plate.opening_deg) / 2), dtype=torch.float64)
    row, column = _block_mm(spec)
    # Before the waist, the ray from the block's edge to the far edge of the waist touches the wall: the block
    # sees the whole waist.
    distance, radius = spec.panels.detector_mm - plate.plane_mm, plate.diameter_mm / 2
    return torch.tensor(
        [(column / 2 + radius) / distance, (row / 2 + radius) / distance], dtype=torch.float64
    )


def _pairs(spec: CameraSpec, panels: int, holes: int) -> Tensor:
    """(pixel, aperture) pairs traced for the sharp image, [pair, 2].

    Without septa every aperture of the pixel's panel, with septa the aperture of the pixel's own block; what
    comes through other apertures is leakage (docs/physics.md, section 5).
    """
    detector = spec.detector
    count = detector.rows * detector.columns
    pixel = torch.arange(panels * count)
    if not spec.collimator.septa:
        aperture = (pixel // count * holes)[:, None] + torch.arange(holes)
        return torch.stack((pixel[:, None].expand_as(aperture), aperture), dim=-1).reshape(-1, 2)
    rows, columns = spec.collimator.apertures or (1, 1)
    block_row = pixel // detector.columns % detector.rows // (detector.rows // rows)
    block_column = pixel % detector.columns // (detector.columns // columns)
    own = pixel // count * holes + block_row * columns + block_column
    return torch.stack((pixel, own), dim=-1)
