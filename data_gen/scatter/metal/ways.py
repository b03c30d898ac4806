"""Ways from where photons stop in metal to blocks of pixels behind an aperture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.scatter.metal.crystal import Crystal, Inside
from data_gen.scatter.metal.eye import Eye
from data_gen.scatter.metal.path import metal_between
from data_gen.scatter.metal.physics import Metal
from data_gen.scatter.metal.squares import solid_angle, within_square
from data_gen.scatter.metal.stops import Stops


class Ways(NamedTuple):
    """Ways from stops to places in the crystal, [voxel, stop] each."""

    lit: Tensor
    """Photons that stop times the solid angle of the way."""
    cosine: Tensor
    """Of the angle that photons turn by."""
    metal_mm: Tensor
    inside: Inside


class Blocks:
    """Blocks of pixels behind an aperture.

    Args:
        camera: the camera with binned pixels.
        eye: the aperture.
        numbers: the pixels behind it, [block].
        metal: of the collimator.
        steps: on the way from a stop to a block.
    """

    def __init__(self, camera: Camera, eye: Eye, numbers: Tensor, metal: Metal, steps: int) -> None:
        self.eye, self.metal, self.steps = eye, metal, steps
        self.middles = eye.local(camera.pixel_centre_mm.detach()[numbers]).float()
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
        """Places mm at a depth in blocks (their middles [..., 3]), drawn by even draws [voxel, stop, 3] about
        evenly in the solid angle that the block is seen by, and this."""
        end = block + torch.nn.functional.pad(depth[..., None], (2, 0))
        way = end - seen_from
        return end + within_square(way, self.pitch, draw), solid_angle(way, self.pitch)

    def ways(self, stops: Stops, block: Tensor, draw: Tensor) -> Ways:
        """To places in a block (its middle [3]), by even draws [voxel, stop, 4]."""
        depth, stands_for = self.crystal.drawn(draw[..., 3])
        end, solid = self.place_in(block, stops.place, depth, draw[..., :3])
        return self.towards(end, solid, stops, depth, stands_for)

    def towards(self, end: Tensor, solid: Tensor, stops: Stops, depth: Tensor, stands_for: Tensor) -> Ways:
        """To given places at a depth in the crystal, by their solid angle."""
        way = end - stops.place
        away = way.norm(dim=-1).clamp_min(1e-6)  # what meets no metal stops nowhere, on a block
        return Ways(
            lit=stops.photons * solid,
            cosine=((way * stops.heading).sum(-1) / away).clamp(-1, 1),
            metal_mm=metal_between(self.eye, stops.place, end, self.steps),
            inside=self.crystal.inside(end, way / away[..., None], depth, stands_for),
        )

    def out(self, photons: Tensor, energy_kev: Tensor, ways: Ways) -> Tensor:
        """Of photons that set out, those that get through the metal on their way."""
        return photons * torch.exp(-self.metal.per_mm(energy_kev) * ways.metal_mm)

    def _cell(self, place: Tensor) -> Tensor:
        """Block that each place [..., 3] lies in, counted along (u, v) from the lowest, [..., 2]."""
        return torch.round((place[..., :2] - self._corner) / self.pitch).long()
