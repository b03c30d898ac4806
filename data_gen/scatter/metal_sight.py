"""What blocks of pixels see of photons that stop in metal around one aperture."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.projector.sampling import spread_points
from data_gen.scatter.metal import Eye, metal_between
from data_gen.scatter.metal_physics import Metal, at_energy, detector_attenuation
from data_gen.scatter.metal_stops import Stops, drawn_evenly
from data_gen.scatter.turning import compton_kev

LEAST = 0.02
"""Share that is taken to get through any metal where stops are chosen, as ways differ from block to block."""
ASIDE = 0.3
"""The same for stops at the wall of the opening, which is seen through it."""
K_WORTH = 4.0
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
        self.pitch, self.thickness = camera.pitch_mm, camera.detector_thickness_mm
        self.detector = detector_attenuation(camera.detector_material)

    def seen(self, stops: Stops, arrival_kev: Tensor) -> Tensor:
        """First interactions in blocks per photon from some voxels, [block, k, voxel].

        Args:
            stops: of photons from these voxels.
            arrival_kev: edges of the classes, K lines first, [k, 2].
        """
        jitter = (spread_points(stops.photons.numel(), 2).float() - 0.5) * self.pitch
        shift = torch.cat((jitter, torch.zeros_like(jitter[:, :1])), dim=1).reshape(stops.place.shape)
        rising = arrival_kev[len(self.metal.k_kev) :, 0].flip(0).float()
        found = []
        for block in self.blocks:
            solid = _solid_angle(block - stops.place, self.pitch)
            sent = self._towards(block + shift, solid, stops)
            below = len(rising) - 1 - torch.bucketize(sent.energy_kev, rising[1:].contiguous(), right=True)
            compton = sent.compton.new_zeros(len(below), len(rising)).scatter_add_(1, below, sent.compton)
            found.append(torch.cat((sent.k_photons.sum(dim=2), compton.T)))
        return torch.stack(found)

    def worthy(self, stops: Stops, count: int) -> Stops:
        """So many stops from each voxel that stand for all, drawn evenly from what may be seen of them.

        That is guessed from what comes to the nearest place on the blocks and to their middle.
        """
        low, high = self.blocks.amin(dim=0), self.blocks.amax(dim=0)
        importance = torch.full_like(stops.photons, 1e-30)
        aside = torch.exp(
            -self.metal.per_mm(stops.energy_kev) * self.eye.beside_opening(*stops.place.unbind(dim=-1)).relu()
        )
        for end in (torch.maximum(torch.minimum(stops.place, high), low), (low + high) / 2):
            way = end - stops.place
            solid = way[..., 2].clamp_min(1.0) / way.norm(dim=-1).clamp_min(1.0) ** 3
            sent = self._towards(end, solid, stops)
            importance = (
                importance
                + K_WORTH * sent.k_photons.sum(dim=0)
                + sent.compton
                + (LEAST + ASIDE * aside) * sent.unhindered
            )
        chosen, _ = drawn_evenly(importance, count)
        weight = importance.sum(dim=1, keepdim=True) / count
        return stops.take(chosen, weight * (stops.photons / importance).gather(1, chosen))

    def _towards(self, end: Tensor, solid: Tensor, stops: Stops) -> _Sent:
        """First interactions at the end of ways from stops, that see it by a solid angle."""
        way = end - stops.place
        away = way.norm(dim=-1).clamp_min(1e-6)  # what meets no metal stops nowhere, on a block
        cosine, turn = way[..., 2] / away, ((way * stops.heading).sum(-1) / away).clamp(-1, 1)
        behind = metal_between(self.eye, stops.place, end, self.steps)
        lit = stops.photons * solid
        k_photons = [
            self._stopped(lit * at_energy(n, stops.energy_kev) / (4 * math.pi), e, behind, cosine)
            for e, n in zip(self.metal.k_kev.float(), self.metal.k_photons, strict=True)
        ]
        energy = compton_kev(stops.energy_kev, turn)
        sent = lit * self.metal.compton_per_sr(stops.energy_kev, turn.acos())
        return _Sent(
            torch.stack(k_photons) if k_photons else lit.new_zeros(0, *lit.shape),
            self._stopped(sent, energy, behind, cosine),
            energy,
            self._stopped(sent, energy, torch.zeros_like(behind), cosine),
        )

    def _stopped(self, photons: Tensor, energy_kev: Tensor, behind: Tensor, cosine: Tensor) -> Tensor:
        """Of photons that set out, those that get through the metal and interact in the detector."""
        slant = at_energy(self.detector, energy_kev) * self.thickness
        out = torch.exp(-self.metal.per_mm(energy_kev) * behind)
        return photons * out * -torch.expm1(-slant / cosine.clamp_min(1e-3))


def _solid_angle(way: Tensor, pitch: float) -> Tensor:
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
