"""Rays from pixels through apertures, each with the share of photons that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm, linear_attenuation_per_mm
from data_gen.projector.plate import path_in_plate
from data_gen.projector.sampling import RaySampling, depth_nodes, polar_nodes, spread_points


@dataclass(frozen=True)
class Rays:
    """Rays of pairs of pixel and aperture, float64.

    ``weight`` [pair, ray, g] mm2: first interactions in the pixel for each photon/mm2 that the object,
    uncollimated, sends along the ray from one emission/mm of its length.
    """

    waist_mm: Tensor
    """Where rays cross the waist plane, [pair, ray, 3]."""
    direction: Tensor
    """Unit vectors from the detector into the object, [pair, ray, 3]."""
    weight: Tensor
    """[pair, ray, g] mm2."""


class RayCaster:
    """Casts the rays of a camera at a few energies.

    phi_q = sum over rays of  dA_q cos(t) D dA_a cos(t) / (4 pi r^2) exp(-mu L)  x  line integral of activity
    per volume: dA_q the pixel's area, D the interaction probability at the sampled depth, dA_a the area of
    waist, r the distance from interaction to waist, t the incidence, L the path in the plate. Solid angles
    are thus exact. What penetrates the plate farther from the waist than the window is left out.

    Args:
        camera: its tensors may require gradients.
        energies_kev: [g].
        sampling: numbers of rays.
    """

    def __init__(self, camera: Camera, energies_kev: Tensor, sampling: RaySampling) -> None:
        self.camera, self.sampling = camera, sampling
        energies = energies_kev.to(torch.float64)
        self.detector_mu = interaction_attenuation_per_mm(camera.detector_material, energies)
        self.plate_mu = linear_attenuation_per_mm(camera.collimator_material, energies)
        spread = spread_points(sampling.rays, 3)
        self.pixel_offset_mm = (spread[:, :2] - 0.5) * camera.pitch_mm
        self.depth_mm, self.depth_density = depth_nodes(
            self.detector_mu, camera.detector_thickness_mm, spread[:, 2]
        )
        # Depth (along the plate) at which a ray parallel to the axis is attenuated by 1/e, at each energy.
        tangent = float(camera.aperture_opening.detach().max())
        fold = tangent / (2 * self.plate_mu)
        self.edge_mm = min(7 * float(fold.max()), tangent * camera.plate_mm / 2)
        self.finest_mm = min(float(fold.min()), self.edge_mm)

    def cast(self, pairs: Tensor) -> Rays:
        """The rays of pairs (pixel, aperture) [k, 2]."""
        camera = self.camera
        pixel, aperture = pairs.unbind(dim=1)
        panel = camera.aperture_panel[aperture]
        u, v, normal = camera.panel_u[panel], camera.panel_v[panel], camera.panel_normal[panel]
        waist, area = self._waist(aperture)
        centre = camera.aperture_centre_mm[aperture]
        offset = self.pixel_offset_mm
        point = camera.pixel_centre_mm[pixel][:, None] + _in_plane(offset[None], u, v)
        point = point + self.depth_mm[:, None] * normal[:, None]
        crossing = centre[:, None] + _in_plane(waist, u, v)
        to_detector = point - crossing
        distance = to_detector.norm(dim=-1)
        rise = (to_detector * normal[:, None]).sum(-1)
        cosine = rise / distance
        slope = _components(to_detector, u, v) / rise[..., None]
        axis = camera.aperture_axis[aperture]
        axis_slope = _components(axis[:, None], u, v) / (axis * normal).sum(-1)[:, None, None]
        path = path_in_plate(waist, slope - axis_slope, camera, aperture, self.sampling.plate_steps) / cosine
        solid = area * cosine / (4 * math.pi * distance**2)
        geometric = camera.pitch_mm**2 * cosine * solid
        through = torch.exp(-path[..., None] * self.plate_mu)
        return Rays(
            crossing,
            -to_detector / distance[..., None],
            geometric[..., None] * through * self._stopped(cosine),
        )

    def _waist(self, aperture: Tensor) -> tuple[Tensor, Tensor]:
        """(u, v) mm and area mm2 of the waist points of each pair."""
        radius = self.camera.aperture_diameter_mm[aperture] / 2
        return polar_nodes(radius, self.edge_mm, self.finest_mm, self.sampling)

    def _stopped(self, cosine: Tensor) -> Tensor:
        """Probability [pair, ray, g] of a first interaction, shared among the rays of a ring by depth.

        The rays of a ring sample depth by importance; scaling their weights to a mean of 1 keeps the total
        exact for any number of rays.
        """
        slant = self.detector_mu / cosine.mean(dim=1)[:, None, None]
        ratio = slant * torch.exp(-slant * self.depth_mm[:, None]) / self.depth_density[:, None]
        rings = ratio.unflatten(1, (-1, self.sampling.angles))
        rings = rings / rings.mean(dim=2, keepdim=True)
        through = self.detector_mu * self.camera.detector_thickness_mm / cosine[..., None]
        stopped: Tensor = rings.flatten(1, 2) * -torch.expm1(-through)
        return stopped


def _in_plane(local: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Vectors [k, ray, 3] of the plane's (u, v) [k or 1, ray, 2]."""
    return local[..., :1] * u[:, None] + local[..., 1:] * v[:, None]


def _components(vector: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(u, v) components [k, ray, 2] of vectors [k, ray, 3]."""
    return torch.stack(((vector * u[:, None]).sum(-1), (vector * v[:, None]).sum(-1)), dim=-1)


def main_axis(camera: Camera, pairs: Tensor) -> Tensor:
    """Grid axis (0 x, 1 y, 2 z) that each pair's middle ray runs along most, [pair] int64."""
    pixel, aperture = pairs.unbind(dim=1)
    middle = camera.pixel_centre_mm[pixel] - camera.aperture_centre_mm[aperture]
    return middle.detach().abs().argmax(dim=1)


@dataclass(frozen=True)
class Crossings:
    """Where rays cross the planes of a grid that stand across ``axis``.

    The line integral of a ray is the sum over planes of the field there times ``step_mm``.
    """

    point_mm: Tensor
    """(x, y, z), [pair, ray, plane, 3]; planes in rising order."""
    step_mm: Tensor
    """[pair, ray, plane]; 0 behind the aperture."""
    towards_detector: Tensor
    """Whether the rays' detector lies beyond the last plane, [pair] bool."""


def cross_grid(rays: Rays, grid: VoxelGrid, axis: int, steps_per_voxel: int) -> Crossings:
    """Crossings of rays with the planes of the grid across axis 0 (x), 1 (y) or 2 (z)."""
    count, spacing = grid.shape[2 - axis] * steps_per_voxel, grid.spacing_mm[2 - axis] / steps_per_voxel
    plane = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * spacing
    along = rays.direction[..., axis, None]
    way = (plane - rays.waist_mm[..., axis, None]) / along
    point = rays.waist_mm[:, :, None] + way[..., None] * rays.direction[:, :, None]
    step = torch.where(way > 0, spacing / along.abs(), 0.0)
    return Crossings(point, step, rays.direction[:, 0, axis] < 0)
