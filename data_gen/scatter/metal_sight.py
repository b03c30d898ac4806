"""What blocks of pixels see of photons that stop in metal around one aperture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.projector.sampling import shifted_points
from data_gen.scatter.arrivals import PARTS, edges_of_parts
from data_gen.scatter.crystal import Crystal
from data_gen.scatter.metal import Eye, metal_between
from data_gen.scatter.metal_physics import Metal, at_energy
from data_gen.scatter.metal_stops import Stops, drawn_evenly
from data_gen.scatter.squares import solid_angle, within_square
from data_gen.scatter.turning import compton_kev

LEAST = 0.02
"""Share that is taken to get through any metal where stops are chosen, as ways differ from block to block."""
ASIDE = 0.3
"""The same for stops at the wall of the opening, which is seen through it."""
K_WORTH = 20.0
"""What a K photon counts there against a Compton photon: they are few, but all at one recorded energy."""


class _Sent(NamedTuple):
    """First interactions per photon emitted, [voxel, stop]; K photons by class, [line class, voxel, stop]."""

    k_photons: Tensor
    compton: Tensor
    energy_kev: Tensor
    """Of the Compton photons."""
    unhindered: Tensor
    """Compton photons if no metal were in the way."""


class MetalSight:
    """Blocks of pixels behind an aperture.

    Args:
        camera: the camera with binned pixels.
        eye: the aperture.
        blocks: the pixels behind it, [block].
        metal: of the collimator.
        steps: on the way from a stop to a block.
    """

    def __init__(self, camera: Camera, eye: Eye, blocks: Tensor, metal: Metal, steps: int) -> None:
        self.eye, self.metal, self.steps = eye, metal, steps
        self.blocks = eye.local(camera.pixel_centre_mm.detach()[blocks]).float()
        self.pitch, self.crystal = camera.pitch_mm, Crystal.of(camera, metal.k_kev)
        self.guess = self.crystal.drawn(torch.tensor(0.25))

    def seen(self, stops: Stops, arrival_kev: Tensor) -> tuple[Tensor, Tensor]:
        """First interactions in blocks per photon from some voxels, [block, k, voxel], and how those of all
        these voxels fill the Compton classes, [block, Compton class, part].

        Args:
            stops: of photons from these voxels.
            arrival_kev: edges of the classes, K lines first, [k, 2].
        """
        draw = shifted_points(stops.photons.numel(), 4, self.eye.number).float()
        draw = draw.reshape(*stops.photons.shape, 4)
        depth, stands_for = self.crystal.drawn(draw[..., 3])
        down = torch.nn.functional.pad(depth[..., None], (2, 0))
        upper = edges_of_parts(arrival_kev[len(self.metal.k_kev) :])[1:-1].float()
        found, filled = [], []
        for block in self.blocks:
            way = block + down - stops.place
            end = block + down + within_square(way, self.pitch, draw[..., :3])
            sent = self._towards(end, solid_angle(way, self.pitch), stops, depth, stands_for)
            part = torch.bucketize(sent.energy_kev, upper, right=True)
            by_part = sent.compton.new_zeros(len(part), len(upper) + 1).scatter_add_(1, part, sent.compton)
            compton = by_part.unflatten(1, (-1, PARTS)).flip(1)
            found.append(torch.cat((sent.k_photons.sum(dim=2), compton.sum(dim=2).T)))
            filled.append(compton.sum(dim=0))
        return torch.stack(found), torch.stack(filled)

    def worthy(self, stops: Stops, count: int) -> Stops:
        """So many stops from each voxel that stand for all, drawn evenly from what may be seen of them.

        That is guessed from what comes to the nearest place on the blocks and to middles of quarters.
        """
        importance = torch.full_like(stops.photons, 1e-30)
        aside = torch.exp(
            -self.metal.per_mm(stops.energy_kev) * self.eye.beside_opening(*stops.place.unbind(dim=-1)).relu()
        )
        for end, solid in self._guesses(stops.place):
            sent = self._towards(end, solid, stops, *self.guess)
            importance = (
                importance
                + K_WORTH * sent.k_photons.sum(dim=0)
                + sent.compton
                + (LEAST + ASIDE * aside) * sent.unhindered
            )
        chosen, _ = drawn_evenly(importance, count, self.eye.number)
        weight = importance.sum(dim=1, keepdim=True) / count
        return stops.take(chosen, weight * (stops.photons / importance).gather(1, chosen))

    def _guesses(self, place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Places on the blocks, and about the solid angle that they stand for, seen from stops [..., 3]."""
        low, high = self.blocks.amin(dim=0), self.blocks.amax(dim=0)
        area = self.pitch**2 * len(self.blocks)
        for u, v in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            end = low + (high - low) * torch.tensor([u, v, 0.0])
            way = end - place
            yield end, area / 4 * way[..., 2] / (way.square().sum(dim=-1) + area / 16) ** 1.5
        end = torch.maximum(torch.minimum(place, high), low)
        way = end - place
        yield end, way[..., 2].clamp_min(1.0) / way.norm(dim=-1).clamp_min(1.0) ** 3

    def _towards(self, end: Tensor, solid: Tensor, stops: Stops, depth: Tensor, stands_for: Tensor) -> _Sent:
        """First interactions at the end of ways from stops, at a depth in the crystal, by its solid angle."""
        way = end - stops.place
        away = way.norm(dim=-1).clamp_min(1e-6)  # what meets no metal stops nowhere, on a block
        turn = ((way * stops.heading).sum(-1) / away).clamp(-1, 1)
        inside = self.crystal.inside(end, way / away[..., None], depth, stands_for)
        behind = metal_between(self.eye, stops.place, end, self.steps)
        lit = stops.photons * solid
        k_photons = [
            self.crystal.stopped(
                self._out(lit * at_energy(n, stops.energy_kev) / (4 * math.pi), e, behind), e, inside
            )
            for e, n in zip(self.metal.k_kev.float(), self.metal.k_photons, strict=True)
        ]
        energy = compton_kev(stops.energy_kev, turn)
        unhindered = lit * self.metal.compton_per_sr(stops.energy_kev, turn.acos())
        unhindered = self.crystal.stopped(unhindered, energy, inside)
        return _Sent(
            torch.stack(k_photons) if k_photons else lit.new_zeros(0, *lit.shape),
            self._out(unhindered, energy, behind),
            energy,
            unhindered,
        )

    def _out(self, photons: Tensor, energy_kev: Tensor, behind: Tensor) -> Tensor:
        """Of photons that set out, those that get through so much metal."""
        return photons * torch.exp(-self.metal.per_mm(energy_kev) * behind)
