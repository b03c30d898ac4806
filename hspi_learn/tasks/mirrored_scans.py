"""Scans of mirror images of the same bodies, for training: panels and volumes mirrored together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from hspi_learn.reconstructor import ScanBatch

AXES = ("x", "y", "z")
CLOSE_MM = 1e-3
"""Points nearer than this are the same place."""


def mirrored_pixels(camera: Camera, axis: str) -> Tensor:
    """The pixel at the mirror image of each pixel across the plane through the isocentre, [pixel] int64.

    Args:
        camera: the camera.
        axis: x, y or z, which changes its sign.

    Raises:
        UserError: the axis is another, or the camera is not its own mirror image.
    """
    if axis not in AXES:
        raise UserError(f"mirror_axes holds {axis!r}; it needs some of x, y and z")
    sign = torch.ones(3, dtype=torch.float64)
    sign[AXES.index(axis)] = -1
    for points in (camera.aperture_centre_mm, camera.pixel_centre_mm):
        places = points.detach().cpu().double()
        distance, found = cKDTree(places.numpy()).query((sign * places).numpy())
        if float(distance.max()) > CLOSE_MM:
            raise UserError(
                f"mirror_axes holds {axis}, but the camera {camera.name} is not its own mirror image along "
                f"{axis}; it needs other axes, or []"
            )
    return torch.from_numpy(found).long()


def mirrored(scans: ScanBatch, axis: str, pixels: Tensor, chosen: Tensor) -> ScanBatch:
    """Some scans of a batch as scans of the mirror images of their bodies.

    Args:
        scans: on a grid that is centred on the isocentre, as ours are.
        axis: x, y or z.
        pixels: see :func:`mirrored_pixels`.
        chosen: scans that are mirrored [batch], bool.
    """

    dimension = -1 - AXES.index(axis)

    def some(usual: Tensor, mirror: Callable[[Tensor], Tensor]) -> Tensor:
        where = chosen.to(usual.device)
        return usual.index_put((where,), mirror(usual[where]))

    return scans._replace(
        projections=some(scans.projections, lambda counts: counts[:, pixels.to(counts.device)]),
        density=some(scans.density, lambda volume: volume.flip(dimension)),
        activity=some(scans.activity, lambda volume: volume.flip(dimension)),
        labels=some(scans.labels, lambda volume: volume.flip(dimension)),
    )
