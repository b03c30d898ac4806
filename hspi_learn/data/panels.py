"""Counts by pixel as images of a camera's panels, and what a mirrored object does to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import KDTree
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError

SAME_PLACE_MM = 1e-3
"""Nearer than this is the same place."""

MIRROR_AXES = ("x", "y", "z")
"""Axes along which objects may be mirrored."""


@dataclass(frozen=True)
class PanelLayout:
    """Panels of a camera, each of so many rows and columns of pixels; pixels are numbered by panel, row,
    column.
    """

    panels: int
    rows: int
    columns: int

    @classmethod
    def of(cls, camera: Camera) -> PanelLayout:
        """The layout of a camera; rotation positions are panels of their own."""
        return cls(camera.panels, camera.spec.detector.rows, camera.spec.detector.columns)

    def images(self, counts: Tensor) -> Tensor:
        """[batch, pixel, window] as images [batch, panel, window, row, column]."""
        parts: Tensor = counts.unflatten(1, (self.panels, self.rows, self.columns))
        return parts.permute(0, 1, 4, 2, 3)

    def counts(self, images: Tensor) -> Tensor:
        """The inverse of :meth:`images`."""
        return images.permute(0, 1, 3, 4, 2).flatten(1, 3)


def mirrored_pixels(camera: Camera, axis: str) -> Tensor:
    """The pixel that sees of an object what each pixel sees of its mirror image, [pixel] int64.

    Args:
        camera: one that is its own mirror image.
        axis: x, y or z, along which the object is mirrored.

    Raises:
        UserError: the axis is another, or the camera is no mirror image of itself along it.
    """
    if axis not in MIRROR_AXES:
        raise UserError(f"mirror_axes holds {axis!r}; it needs some of x, y and z")
    sign = torch.ones(3, dtype=torch.float64)
    sign[MIRROR_AXES.index(axis)] = -1
    _partner(camera.aperture_centre_mm, sign, camera, axis)
    return _partner(camera.pixel_centre_mm, sign, camera, axis)


def _partner(place_mm: Tensor, sign: Tensor, camera: Camera, axis: str) -> Tensor:
    """Number of the place [k, 3] at the mirror image of each, a permutation [k]."""
    place = place_mm.detach().cpu().double()
    distance, found = KDTree(place.numpy()).query((place * sign).numpy())
    partner = torch.as_tensor(found, dtype=torch.int64)
    if float(distance.max()) > SAME_PLACE_MM or len(partner.unique()) < len(partner):
        raise UserError(
            f"mirror_axes holds {axis!r}, along which the camera {camera.name} is no mirror image of itself; "
            "leave it out"
        )
    return partner
