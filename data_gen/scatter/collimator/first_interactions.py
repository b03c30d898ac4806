"""Rays from voxels to the metal around one aperture, and the first interactions of photons in the metal.

Coordinates (u, v, h) in mm of the aperture's panel; weights are photons per photon emitted.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector.sampling import ring_nodes, shifted_points
from data_gen.scatter.collimator.cross_sections import Metal
from data_gen.scatter.collimator.geometry import ApertureGeometry
from data_gen.scatter.collimator.interactions import CollimatorPaths, Interactions, drawn_depth, drawn_evenly
from data_gen.scatter.collimator.sampling import CollimatorSampling

WIDEST = 1.5
"""Tangent of the largest angle to a panel's normal of photons that may be scattered by its plate."""

ASIDE, LEAST = 0.3, 1e-4
"""Floors of the escape probability in the importance of first interactions in the metal: at the opening's
wall, and everywhere; the estimate stays unbiased. Chosen, no source.
"""


class CollimatorRays:
    """Rays from voxels to the metal around one aperture.

    Args:
        camera: the camera.
        geometry: the collimator around the aperture.
        grid: coarse voxels.
        sampling: resolution of the computation.
    """

    def __init__(
        self, camera: Camera, geometry: ApertureGeometry, grid: VoxelGrid, sampling: CollimatorSampling
    ) -> None:
        self.geometry, self.sampling, self.grid = geometry, sampling, grid
        self.reach = _reach(camera, geometry)

    def lines(self, voxels: Tensor, metal: Metal, energy_kev: float) -> CollimatorPaths:
        """Paths of photons from some voxels to the detector."""
        emitted = torch.tensor(energy_kev)
        start, waist, photons = self._rays(voxels, float(metal.per_mm(emitted)))
        way = waist - start
        share = (self._heights() - start[..., 2:]) / way[..., 2:]
        return CollimatorPaths.of(self.geometry, start, way, share, photons, emitted.expand(photons.shape))

    def first_interactions(self, lines: CollimatorPaths, metal: Metal) -> Interactions:
        """First interactions in the metal, sampled from all of them weighted by the probability that
        Compton photons escape, forwards or into the opening.
        """
        mu = metal.per_mm(lines.energy_kev)
        length, rate = lines.length, mu[..., None]
        ahead = length.sum(dim=-1, keepdim=True) - length.cumsum(dim=-1)
        point = lines.start[..., None, :] + lines.share[..., None] * lines.way[..., None, :]
        beside = self.geometry.beside_opening(*point.unbind(dim=-1)).relu()
        aside = torch.exp(-rate * torch.minimum(beside[..., 1:], beside[..., :-1]))
        escape = torch.exp(-rate * ahead) + ASIDE * aside + LEAST
        stopping = lines.entering(mu) * -torch.expm1(-rate * length)
        importance = (stopping * escape + 1e-30).flatten(1)
        number, draw = drawn_evenly(importance, self.sampling.interactions, self.geometry.number)
        weight = importance.sum(dim=1, keepdim=True) / self.sampling.interactions
        photons = weight * (stopping.flatten(1) / importance).gather(1, number)
        run = (rate * length).flatten(1).gather(1, number)
        deep = drawn_depth(run, draw) / run.clamp_min(1e-9)
        return lines.interactions(number, deep, photons)

    def _heights(self) -> Tensor:
        """Ends of integration steps through plate and septa, finest at the waist, where rays graze
        the walls.
        """
        steps, half = self.sampling.steps, self.geometry.half_plate
        share = torch.linspace(-1, 1, 2 * steps + 1)
        behind = torch.linspace(half, self.geometry.detector, steps + 1)[1:]
        return torch.cat((half * share * share.abs(), behind))

    def _rays(self, voxels: Tensor, mu: float) -> tuple[Tensor, Tensor, Tensor]:
        """Starting points in voxels, points on the waist plane, both (u, v, h) [voxel, ray, 3], and photons
        per photon emitted that each ray represents, [voxel, ray].
        """
        inner, outer = self.sampling.open_rays, self.sampling.plate_rays
        draw = shifted_points(len(voxels) * (inner + outer), 4, self.geometry.number).float()
        draw = draw.reshape(len(voxels), -1, 4)
        spacing = torch.tensor(self.grid.spacing_mm[::-1])
        centre = self.grid.centres_mm().reshape(-1, 3)[voxels, None]
        start = self.geometry.local(centre + (draw[..., 1:] - 0.5).double() * spacing).float()
        turn = 2 * math.pi * draw[..., 0]
        heading = torch.stack((turn.cos(), turn.sin()), dim=-1)
        share = (torch.arange(inner) + 0.5) / inner
        open_radius = (self.geometry.radius * share.sqrt()).expand(len(voxels), -1)
        open_area = torch.full_like(open_radius, math.pi * self.geometry.radius**2 / inner)
        rim = torch.full((len(voxels), outer), self.geometry.radius)
        fold = float(self.geometry.opening.max()) / (2 * mu)  # as transmission falls about the waist
        last = torch.maximum(self._border(heading[:, inner:]), rim)
        radius, area = ring_nodes(rim, last, fold, (torch.arange(outer) + 0.5) / outer)
        place = self.geometry.centre.float() + torch.cat((open_radius, radius), dim=1)[..., None] * heading
        waist = torch.cat((place, torch.zeros_like(place[..., :1])), dim=-1)
        way = waist - start
        distance = way.norm(dim=-1)
        solid = torch.cat((open_area, area), dim=1) * way[..., 2] / distance**3
        return start, waist, solid / (4 * math.pi)

    def _border(self, heading: Tensor) -> Tensor:
        """Distance from the aperture to the border along headings [..., 2]."""
        reach = torch.where(heading < 0, self.reach[0].float(), self.reach[1].float())
        return (reach / heading.abs().clamp_min(1e-6)).amin(dim=-1)


def _reach(camera: Camera, geometry: ApertureGeometry) -> Tensor:
    """Distances from the aperture to the border of its part of the plate: along -u, -v, u, v, [2, 2].

    Parts at the panel's rim reach to where the next panel's begins, but not beyond ``WIDEST``.
    """
    spec = camera.spec
    nearer = spec.collimator.plane_mm / spec.panels.detector_mm
    size = torch.tensor([spec.detector.columns, spec.detector.rows]) * spec.detector.pitch_mm
    half = nearer * size / geometry.count / 2
    angles = torch.tensor(sorted(spec.panels.angles_deg), dtype=torch.float64)
    gap = float(torch.cat((angles, angles[:1] + 360)).diff().min()) / 2
    beside = math.tan(math.radians(gap)) if gap < 90 else WIDEST
    rim = spec.collimator.plane_mm * torch.tensor([min(beside, WIDEST), WIDEST])
    number = (
        (geometry.centre - geometry.lattice[0, 0]) / (geometry.lattice[0, 1] - geometry.lattice[0, 0])
    ).round()
    below = torch.where(number == 0, rim + geometry.centre, half)
    above = torch.where(number == geometry.count - 1, rim - geometry.centre, half)
    return torch.stack((below, above)).clamp_min(geometry.radius)
