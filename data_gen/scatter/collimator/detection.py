"""Detection paths: from interactions in metal to blocks of pixels behind an aperture, and into their crystal.

Coordinates (u, v, h) in mm of an aperture's panel; solid angles in sr; attenuation in 1/mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.scatter.collimator.cross_sections import Metal, at_energy, detector_attenuation
from data_gen.scatter.collimator.geometry import ApertureGeometry, path_in_collimator
from data_gen.scatter.collimator.interactions import Interactions

SQUARES = 4
"""Subdivisions of a square along each edge, among which points are drawn by solid angle."""


def within_square(way: Tensor, pitch: float, draw: Tensor) -> Tensor:
    """A point in a square of edge ``pitch``, relative to its centre, about uniform in solid angle, [..., 3]
    mm.

    Args:
        way: (u, v, h) from the point of view to the square's centre, [..., 3] mm.
        pitch: mm.
        draw: uniform numbers, 0..1, [..., 3].
    """
    edge = pitch / SQUARES
    middle = (torch.arange(SQUARES) - (SQUARES - 1) / 2) * edge
    u, v, h = way.unbind(dim=-1)
    across = (u[..., None, None] + middle).square() + (v[..., None, None] + middle[:, None]).square()
    soft = (edge / 2) ** 2  # a square that is touched is seen by no more than half of all directions
    seen = (across + h[..., None, None].square() + soft).pow(-1.5).flatten(-2).cumsum(dim=-1)
    chosen = torch.searchsorted(seen, draw[..., :1] * seen[..., -1:])[..., 0].clamp_max(SQUARES**2 - 1)
    place = middle[torch.stack((chosen % SQUARES, chosen // SQUARES), dim=-1)]
    place = place + (draw[..., 1:] - 0.5) * edge
    return torch.cat((place, torch.zeros_like(place[..., :1])), dim=-1)


def solid_angle(way: Tensor, pitch: float) -> Tensor:
    """Solid angle of a square of edge ``pitch`` at (u, v, h) from a point, [...] sr."""
    total = torch.zeros_like(way[..., 0])
    for sign_u in (1, -1):
        for sign_v in (1, -1):
            u = way[..., 0] + sign_u * pitch / 2
            v = way[..., 1] + sign_v * pitch / 2
            h = way[..., 2].clamp_min(1e-4)
            corner = torch.atan(u * v / (h * (u * u + v * v + h * h).sqrt()))
            total = total + sign_u * sign_v * corner
    return total


@dataclass(frozen=True)
class Inside:
    """Points in a crystal on the paths of photons."""

    before: Tensor
    """Path length mm in the crystal up to the point."""
    run: Tensor
    """Path length mm that each point represents."""


@dataclass(frozen=True)
class Crystal:
    """The detector plate: oblique photons leave through its sides, or enter there.

    Points in it are drawn by depth, half of them uniformly and half by the attenuation of the least
    penetrating photons.
    """

    half_size: Tensor
    """Along (u, v) from its middle, [2] mm."""
    thickness: float
    """In mm."""
    attenuation: Tensor
    """Attenuation of the crystal in 1/mm, a table for ``at_energy``."""
    shallow: float
    """Attenuation of the least penetrating photons, 1/mm."""

    @classmethod
    def of(cls, camera: Camera, least_kev: Tensor) -> Crystal:
        """The crystal of each of a camera's panels, for photons of some energies [n] or more."""
        spec, table = camera.spec.detector, detector_attenuation(camera.detector_material)
        half_size = torch.tensor([spec.columns, spec.rows]) * spec.pitch_mm / 2
        shallow = float(at_energy(table, least_kev).max()) if len(least_kev) else 1 / spec.thickness_mm
        return cls(half_size, spec.thickness_mm, table, shallow)

    def drawn(self, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Depths mm, and the interval of depth mm that each represents, sampled by uniform numbers
        in 0..1.
        """
        reached = -torch.expm1(torch.tensor(-self.shallow * self.thickness))
        even = draw < 0.5
        share = torch.where(even, 2 * draw, 2 * draw - 1)
        depth = torch.where(even, share * self.thickness, -torch.log1p(-share * reached) / self.shallow)
        law = self.shallow * torch.exp(-self.shallow * depth) / reached
        return depth, 2 / (1 / self.thickness + law)

    def inside(self, place: Tensor, heading: Tensor, depth: Tensor, stands_for: Tensor) -> Inside:
        """Paths in the crystal of photons through places (u, v, h) [..., 3] at a depth."""
        cosine = heading[..., 2].clamp_min(1e-3)
        room = self.half_size + place[..., :2] * heading[..., :2].sign()
        aside = (room / heading[..., :2].abs().clamp_min(1e-6)).amin(dim=-1)
        return Inside(torch.minimum(depth / cosine, aside), stands_for / cosine)

    def stopped(self, photons: Tensor, energy_kev: Tensor, inside: Inside) -> Tensor:
        """Number of photons that interact in the interval around each point."""
        mu = at_energy(self.attenuation, energy_kev)
        return photons * mu * inside.run * torch.exp(-mu * inside.before)


class DetectionPaths(NamedTuple):
    """Paths from interactions to points in the crystal, [voxel, interaction] each."""

    photons_sr: Tensor
    """Interacting photons times the solid angle of the path."""
    cosine: Tensor
    """Cosine of the scattering angle."""
    metal_mm: Tensor
    """Path length in the metal."""
    inside: Inside


class Blocks:
    """Blocks of pixels behind an aperture.

    Args:
        camera: the camera with binned pixels.
        geometry: the collimator around the aperture.
        numbers: the pixels behind it, [block].
        metal: of the collimator.
        steps: number of integration steps from an interaction to a block.
    """

    def __init__(
        self, camera: Camera, geometry: ApertureGeometry, numbers: Tensor, metal: Metal, steps: int
    ) -> None:
        self.geometry, self.metal, self.steps = geometry, metal, steps
        self.middles = geometry.local(camera.pixel_centre_mm.detach()[numbers]).float()
        self.pitch, self.crystal = camera.pitch_mm, Crystal.of(camera, metal.k_kev)
        self._corner = self.middles.amin(dim=0)[:2]
        cell = self._cell(self.middles)
        self._number_at = torch.full((cell.amax(dim=0) + 1).tolist(), -1)
        self._number_at[tuple(cell.unbind(dim=-1))] = torch.arange(len(numbers))

    def at(self, place: Tensor) -> Tensor:
        """Number of the block at places [..., 3] of the detector, -1 for none."""
        cell, size = self._cell(place), torch.tensor(self._number_at.shape)
        u, v = cell.clamp_min(0).minimum(size - 1).unbind(dim=-1)
        return torch.where(((cell >= 0) & (cell < size)).all(dim=-1), self._number_at[u, v], -1)

    def place_in(
        self, block: Tensor, seen_from: Tensor, depth: Tensor, draw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Points mm at a depth in blocks (their centres [..., 3]), sampled by uniform numbers [voxel,
        interaction, 3] about uniformly in the solid angle of the block, and this solid angle.
        """
        end = block + torch.nn.functional.pad(depth[..., None], (2, 0))
        way = end - seen_from
        return end + within_square(way, self.pitch, draw), solid_angle(way, self.pitch)

    def paths(self, interactions: Interactions, block: Tensor, draw: Tensor) -> DetectionPaths:
        """Paths to points in a block (its centre [3]), sampled by uniform numbers [voxel, interaction, 4]."""
        depth, stands_for = self.crystal.drawn(draw[..., 3])
        end, solid = self.place_in(block, interactions.place, depth, draw[..., :3])
        return self.towards(end, solid, interactions, depth, stands_for)

    def towards(
        self, end: Tensor, solid: Tensor, interactions: Interactions, depth: Tensor, stands_for: Tensor
    ) -> DetectionPaths:
        """Paths to given points at a depth in the crystal, with their solid angles."""
        way = end - interactions.place
        away = way.norm(dim=-1).clamp_min(1e-6)  # what meets no metal stops nowhere, on a block
        return DetectionPaths(
            photons_sr=interactions.photons * solid,
            cosine=((way * interactions.heading).sum(-1) / away).clamp(-1, 1),
            metal_mm=path_in_collimator(self.geometry, interactions.place, end, self.steps),
            inside=self.crystal.inside(end, way / away[..., None], depth, stands_for),
        )

    def out(self, photons: Tensor, energy_kev: Tensor, paths: DetectionPaths) -> Tensor:
        """Number of photons transmitted by the metal on their path."""
        return photons * torch.exp(-self.metal.per_mm(energy_kev) * paths.metal_mm)

    def _cell(self, place: Tensor) -> Tensor:
        """Block that each place [..., 3] lies in, counted along (u, v) from the lowest, [..., 2]."""
        return torch.round((place[..., :2] - self._corner) / self.pitch).long()
