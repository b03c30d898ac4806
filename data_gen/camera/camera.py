"""A pinhole camera as tensors: where its pixels and apertures are, and which see each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from data_gen.camera.spec import CameraSpec, checked_spec

if TYPE_CHECKING:
    from data_gen.detector import DetectorResponse


@dataclass(frozen=True, eq=False)
class Camera:
    """Panels of pixels behind plates with apertures; lengths in mm, float64, origin at the isocentre.

    A rotating camera is a panel at each of its stops. Geometry is plain tensors, so that
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
    """Of the round waist, [aperture]."""
    aperture_opening: Tensor
    """Tangents of the half opening angles along (u, v), [aperture, 2]: the opening's half size grows by
    this times the distance from the waist."""
    pairs: Tensor
    """(pixel, aperture) that see each other, [pair, 2] int64, pixels rising."""
    response: DetectorResponse
    """Of the detector, once a photon interacts."""

    @property
    def name(self) -> str:
        """Name of the camera."""
        return self.spec.name

    @property
    def panels(self) -> int:
        """Number of panels, stops of a rotation counted apart."""
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
        """Edge of a pixel."""
        return self.spec.detector.pitch_mm

    @property
    def plate_mm(self) -> float:
        """Thickness of the collimator plate."""
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
        """Thickness of the detector."""
        return self.spec.detector.thickness_mm

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
        """Share of the scan that each pixel looks, [pixel]: 1 on a ring, 1/n at each of n stops."""
        rotation = self.spec.panels.rotation
        return torch.full((self.pixel_count,), 1.0 / (rotation.steps if rotation else 1), dtype=torch.float64)

    def neighbours(self, offset: tuple[int, int]) -> Tensor:
        """Pixel at (row, column) + offset of the same panel, [pixel] int64; -1 where there is none."""
        row, column = self.pixel_row + offset[0], self.pixel_column + offset[1]
        rows, columns = self.spec.detector.rows, self.spec.detector.columns
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return torch.where(inside, (self.pixel_panel * rows + row) * columns + column, -1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :meth:`from_dict` builds the camera from (replaced tensors are not in it)."""
        return self.spec.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "camera") -> Camera:
        """The camera that plain data describes.

        Raises:
            UserError: a key is missing, unknown or wrong.
        """
        # Here, since the builder makes cameras.
        from data_gen.camera.build import build_camera

        return build_camera(checked_spec(data, source))

    @property
    def fingerprint(self) -> str:
        """Hash of :meth:`to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
