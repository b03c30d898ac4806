"""Points where rays cross the planes of a voxel grid, and the step length between planes, in mm.

Line integrals by Joseph's method (IEEE Trans. Med. Imaging 1 (1982) 192): along the axis that a ray runs
along most, the field is read once on each plane, interpolated linearly between voxel centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector.ray_casting import Rays


def main_axis(camera: Camera, pairs: Tensor) -> Tensor:
    """Grid axis (0 x, 1 y, 2 z) that each pair's middle ray runs along most, [pair] int64.

    Args:
        camera: the camera.
        pairs: (pixel, aperture) of each pair, [pair, 2].
    """
    pixel, aperture = pairs.unbind(dim=1)
    middle = camera.pixel_centre_mm[pixel] - camera.aperture_centre_mm[aperture]
    return middle.detach().abs().argmax(dim=1)


@dataclass(frozen=True)
class Crossings:
    """Where rays cross the planes of a grid that stand across ``axis``.

    The line integral of a ray is the sum over planes of ``step_mm`` times the field at ``point_mm``, read by
    linear interpolation between the nearest voxel centres (four of the plane, eight where the plane lies
    between centres); outside the grid the field is 0.
    """

    point_mm: Tensor
    """(x, y, z), [pair, ray, plane, 3]; planes in rising order."""
    step_mm: Tensor
    """Length of the ray between neighbouring planes, [pair, ray, plane]; 0 on the detector's side of the
    waist."""
    towards_last: Tensor
    """Whether the detector lies beyond the last plane rather than before the first, [pair] bool: told from
    the first ray, as all rays of a pair run to the same side."""


def cross_grid(rays: Rays, grid: VoxelGrid, axis: int, steps_per_voxel: int) -> Crossings:
    """Crossings of rays with the planes of the grid across an axis.

    Args:
        rays: the rays of some pairs, [pair, ray].
        grid: voxels, centred on the isocentre.
        axis: 0 (x), 1 (y) or 2 (z), the :func:`main_axis` of these pairs: no ray may run across it.
        steps_per_voxel: planes in each voxel, evenly spaced about its centre; with 1, the planes of voxel
            centres.
    """
    count, spacing = grid.shape[2 - axis] * steps_per_voxel, grid.spacing_mm[2 - axis] / steps_per_voxel
    plane = torch.arange(count, dtype=torch.float64, device=rays.waist_mm.device)
    plane = (plane - (count - 1) / 2) * spacing
    along = rays.direction[..., axis, None]
    way = (plane - rays.waist_mm[..., axis, None]) / along
    point = rays.waist_mm[:, :, None] + way[..., None] * rays.direction[:, :, None]
    step = torch.where(way > 0, spacing / along.abs(), 0.0)
    return Crossings(point, step, rays.direction[:, 0, axis] < 0)
