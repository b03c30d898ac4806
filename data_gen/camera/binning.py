"""Coarser pixels of a camera, and pairs of every pixel with every aperture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from data_gen.camera.camera import Camera, build_camera
from data_gen.core.errors import UserError


def binning_to(camera: Camera, edge_mm: float) -> int:
    """The largest number of pixels along an edge that divides every block of pixels and is no wider than
    ``edge_mm``; at least 1."""
    detector, blocks = camera.spec.detector, camera.spec.collimator.apertures or (1, 1)
    rows, columns = detector.rows // blocks[0], detector.columns // blocks[1]
    fits = range(1, max(1, int(edge_mm / detector.pitch_mm + 1e-9)) + 1)
    return max(n for n in fits if rows % n == 0 and columns % n == 0)


def binned(camera: Camera, factor: int) -> Camera:
    """The camera with ``factor`` x ``factor`` pixels as one; replaced tensors (poses, diameters) stay.

    Raises:
        UserError: the factor does not divide every block of pixels.
    """
    detector, blocks = camera.spec.detector, camera.spec.collimator.apertures or (1, 1)
    if factor < 1 or (detector.rows // blocks[0]) % factor or (detector.columns // blocks[1]) % factor:
        raise UserError(
            f"binning is {factor}; it needs to divide blocks of {detector.rows // blocks[0]} x "
            f"{detector.columns // blocks[1]} pixels"
        )
    coarse = detector.model_copy(
        update={
            "rows": detector.rows // factor,
            "columns": detector.columns // factor,
            "pitch_mm": detector.pitch_mm * factor,
        }
    )
    built = build_camera(camera.spec.model_copy(update={"detector": coarse}))
    return replace(
        built,
        pixel_centre_mm=_means(camera, factor),
        panel_u=camera.panel_u,
        panel_v=camera.panel_v,
        panel_normal=camera.panel_normal,
        aperture_centre_mm=camera.aperture_centre_mm,
        aperture_axis=camera.aperture_axis,
        aperture_diameter_mm=camera.aperture_diameter_mm,
        aperture_opening=camera.aperture_opening,
        response=camera.response,
    )


def coarse_camera(camera: Camera, block_mm: float) -> Camera:
    """The camera with pixels binned to blocks of at most ``block_mm``, as seen at the isocentre."""
    spec = camera.spec
    magnification = (spec.panels.detector_mm - spec.collimator.plane_mm) / spec.collimator.plane_mm
    return binned(camera, binning_to(camera, block_mm * magnification))


def _means(camera: Camera, factor: int) -> Tensor:
    """Centres of blocks of ``factor`` x ``factor`` pixels, [block, 3]."""
    detector = camera.spec.detector
    rows, columns = detector.rows // factor, detector.columns // factor
    by_block = camera.pixel_centre_mm.reshape(camera.panels, rows, factor, columns, factor, 3)
    return by_block.mean(dim=(2, 4)).reshape(-1, 3)


def seeing_every_aperture(camera: Camera) -> Camera:
    """The camera with every pixel paired with every aperture of its panel, with or without septa."""
    per_panel = camera.aperture_count // camera.panels
    pixel = torch.arange(camera.pixel_count)
    aperture = (camera.pixel_panel * per_panel)[:, None] + torch.arange(per_panel)
    pairs = torch.stack((pixel[:, None].expand_as(aperture), aperture), dim=-1).reshape(-1, 2)
    return replace(camera, pairs=pairs)
