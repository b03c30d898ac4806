"""A camera with other apertures, as tensors that carry gradients to the design parameters (mm)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from data_gen.camera import Camera
from data_gen.camera.camera import build_camera
from data_gen.core.errors import UserError


def redesigned(camera: Camera, diameter_mm: Tensor, plane_mm: Tensor, material: str | None = None) -> Camera:
    """The camera with apertures of another diameter, on a plate elsewhere, perhaps of another material.

    Detector, pixels and plate thickness stay. Apertures between a block of pixels and the isocentre stay on
    that line, and loft holes still open onto their block; apertures placed freely move along the panel's
    normal.

    Args:
        camera: to start from.
        diameter_mm: diameter of every waist, a scalar that may require a gradient.
        plane_mm: distance from the isocentre to the plane of the waists, likewise.
        material: material of plate and septa; None keeps it.

    Raises:
        UserError: the plate would reach the detector or the isocentre, or the material is unknown.
    """
    diameter, plane = float(diameter_mm.detach()), float(plane_mm.detach())
    built = _built(camera, diameter, plane, material or camera.collimator_material)
    return replace(
        built,
        aperture_centre_mm=_centres(built, plane_mm),
        aperture_diameter_mm=diameter_mm.expand(built.aperture_count),
        aperture_opening=_openings(built, diameter_mm, plane_mm),
        response=camera.response,
    )


def _built(camera: Camera, diameter_mm: float, plane_mm: float, material: str) -> Camera:
    """The same camera with plain numbers as geometry."""
    plate = camera.spec.collimator
    half, detector = plate.plate_mm / 2, camera.spec.panels.detector_mm
    if not (diameter_mm > 0 and half < plane_mm < detector - half):
        raise UserError(
            f"aperture diameter {diameter_mm:g} mm at plane_mm {plane_mm:g}; it needs a diameter above 0 and "
            f"a plate between isocentre and detector, plane_mm in {half:g}-{detector - half:g}"
        )
    changes = {"diameter_mm": diameter_mm, "plane_mm": plane_mm, "material": material}
    return build_camera(camera.spec.model_copy(update={"collimator": plate.model_copy(update=changes)}))


def _centres(built: Camera, plane_mm: Tensor) -> Tensor:
    """Aperture centres [aperture, 3] as functions of the plane."""
    if built.spec.collimator.positions_mm is None:
        # All of an aperture's line to its block runs through the isocentre.
        return built.aperture_centre_mm * (plane_mm / built.spec.collimator.plane_mm)
    ahead = plane_mm - built.spec.collimator.plane_mm
    return built.aperture_centre_mm + ahead * built.panel_normal[built.aperture_panel]


def _openings(built: Camera, diameter_mm: Tensor, plane_mm: Tensor) -> Tensor:
    """Tangents of the half opening angles [aperture, 2] as functions of the design."""
    plate = built.spec.collimator
    if plate.opening_deg is not None:
        return built.aperture_opening
    distance = built.spec.panels.detector_mm - plate.plane_mm
    half_block = built.aperture_opening * distance - plate.diameter_mm / 2
    return (half_block + diameter_mm / 2) / (built.spec.panels.detector_mm - plane_mm)
