"""Photons that metal sends on from around one aperture to the pixels behind it, by quadrature along rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.projector.sampling import ring_nodes, spread_points
from data_gen.scatter.metal import Eye, metal_between, metal_share
from data_gen.scatter.metal_physics import Metal, at_angle, at_energy
from data_gen.scatter.turning import compton_kev

VOXELS_AT_ONCE = 128


@dataclass(frozen=True)
class MetalSampling:
    """How finely scatter in the collimator is computed.

    Args:
        voxel_mm: edge of the coarse voxels, at most.
        open_rays: rays from a voxel through the open waist.
        plate_rays: rays from a voxel through the rest of the plate around an aperture.
        steps: along a ray, through half of the plate and from there to the detector.
        stops: places along a ray where photons interact.
        out_steps: from there to a block.
        classes: of arrival energy after Compton scatter.
    """

    voxel_mm: float = 5.4
    open_rays: int = 6
    plate_rays: int = 10
    steps: int = 16
    stops: int = 3
    out_steps: int = 24
    classes: int = 4


@dataclass(frozen=True)
class _Stops:
    """Interactions of photons from a few voxels: place (u, v, h), direction, and photons stopped per photon
    emitted, [voxel, stop, ...]."""

    place: Tensor
    heading: Tensor
    photons: Tensor


class MetalRays:
    """Rays of one aperture, from voxels to metal to blocks of pixels.

    Args:
        camera: the camera with binned pixels.
        aperture: number of the aperture.
        blocks: the pixels behind it, [block].
        grid: coarse voxels.
        sampling: how finely.
    """

    def __init__(
        self, camera: Camera, aperture: int, blocks: Tensor, grid: VoxelGrid, sampling: MetalSampling
    ) -> None:
        self.eye, self.sampling, self.grid = Eye.of(camera, aperture), sampling, grid
        self.blocks = self.eye.local(camera.pixel_centre_mm.detach()[blocks]).float()
        self.pitch, self.thickness = camera.pitch_mm, camera.detector_thickness_mm
        self.nodes_kev = torch.logspace(1, 3.47, 800, dtype=torch.float64)  # to 2950 keV
        self.detector_mu = interaction_attenuation_per_mm(camera.detector_material, self.nodes_kev)
        self.reach = self._reach(camera)

    def matrix(self, metal: Metal, arrival_kev: Tensor) -> Tensor:
        """First interactions in each block per photon from each voxel, [block, k, voxel] float32.

        Args:
            metal: at the energy of emission.
            arrival_kev: edges of the classes, K lines first, [k, 2].
        """
        voxels = torch.arange(self.grid.voxels).split(VOXELS_AT_ONCE)
        return torch.cat([self._seen(self._stops(v, metal), metal, arrival_kev) for v in voxels], dim=2)

    def _stops(self, voxels: Tensor, metal: Metal) -> _Stops:
        """Where photons of some voxels interact: drawn evenly from all interactions weighted by the chance to
        get out ahead."""
        start, waist, photons = self._rays(voxels, metal)
        way = waist - start
        heights = self._heights()
        share = (heights - start[..., 2:]) / way[..., 2:]
        share_in = metal_share(self.eye.depth(start[..., None, :] + share[..., None] * way[..., None, :]))
        length = share_in * share.diff() * way.norm(dim=-1, keepdim=True)
        before = length.cumsum(dim=-1) - length
        ahead = length.sum(dim=-1, keepdim=True) - before - length
        stopped = torch.exp(-metal.attenuation * before) * -torch.expm1(-metal.attenuation * length)
        k_out = (
            float(at_energy(metal.out, metal.energies_kev, metal.k_kev[:1].amax())) if len(metal.k_kev) else 0
        )
        escape = 0.5 * (torch.exp(-k_out * ahead) + torch.exp(-metal.attenuation * ahead))
        importance = stopped * (escape + 1e-4) + 1e-12 * length + 1e-30
        chosen, draw = self._chosen(importance)
        weight = importance.sum(dim=-1, keepdim=True) / self.sampling.stops
        count = photons[..., None] * weight * (stopped / importance).gather(-1, chosen)
        # In metal, photons stop near where they enter it.
        thick = length.gather(-1, chosen)
        deep = -torch.log1p(draw * torch.expm1(-metal.attenuation * thick)) / metal.attenuation
        first = share[..., :-1].gather(-1, chosen)
        last = share[..., 1:].gather(-1, chosen)
        distance = way.norm(dim=-1, keepdim=True)
        enters = self.eye.depth(start[..., None, :] + first[..., None] * way[..., None, :]) <= 0
        begin = torch.where(enters, last - thick / distance, first)
        place = start[..., None, :] + (begin + deep / distance)[..., None] * way[..., None, :]
        heading = (way / distance)[..., None, :].expand_as(place)
        return _Stops(place.flatten(1, 2), heading.flatten(1, 2), count.flatten(1, 2))

    def _chosen(self, importance: Tensor) -> tuple[Tensor, Tensor]:
        """Steps drawn evenly from their importance, and an even draw for each, [voxel, ray, stop]."""
        stops, (voxels, rays) = self.sampling.stops, importance.shape[:2]
        draw = spread_points(voxels * rays * stops, 2).float().reshape(voxels, rays, stops, 2)
        level = (torch.arange(stops) + draw[..., 0]) / stops
        total = importance.cumsum(dim=-1)
        chosen = torch.searchsorted(total, level * total[..., -1:]).clamp_max(importance.shape[-1] - 1)
        return chosen, draw[..., 1]

    def _heights(self) -> Tensor:
        """Ends of steps through plate and septa, finest at the waist, where rays graze the walls."""
        steps, half = self.sampling.steps, self.eye.half_plate
        share = torch.linspace(-1, 1, 2 * steps + 1)
        behind = torch.linspace(half, self.eye.detector, steps + 1)[1:]
        return torch.cat((half * share * share.abs(), behind))

    def _rays(self, voxels: Tensor, metal: Metal) -> tuple[Tensor, Tensor, Tensor]:
        """Starts in voxels, crossings of the waist plane, both (u, v, h) [voxel, ray, 3], and photons per
        photon emitted that each ray stands for, [voxel, ray]."""
        inner, outer = self.sampling.open_rays, self.sampling.plate_rays
        draw = spread_points(len(voxels) * (inner + outer), 4).float().reshape(len(voxels), -1, 4)
        spacing = torch.tensor(self.grid.spacing_mm[::-1])
        centre = self.grid.centres_mm().reshape(-1, 3)[voxels, None]
        start = self.eye.local(centre + (draw[..., 1:] - 0.5).double() * spacing).float()
        turn = 2 * math.pi * draw[..., 0]
        heading = torch.stack((turn.cos(), turn.sin()), dim=-1)
        share = (torch.arange(inner) + 0.5) / inner
        open_radius = (self.eye.radius * share.sqrt()).expand(len(voxels), -1)
        open_area = torch.full_like(open_radius, math.pi * self.eye.radius**2 / inner)
        rim = torch.full((len(voxels), outer), self.eye.radius)
        fold = float(self.eye.opening.max()) / (
            2 * metal.attenuation
        )  # as transmission falls about the waist
        last = torch.maximum(self._border(heading[:, inner:]), rim)
        radius, area = ring_nodes(rim, last, fold, (torch.arange(outer) + 0.5) / outer)
        place = self.eye.centre.float() + torch.cat((open_radius, radius), dim=1)[..., None] * heading
        waist = torch.cat((place, torch.zeros_like(place[..., :1])), dim=-1)
        way = waist - start
        distance = way.norm(dim=-1)
        solid = torch.cat((open_area, area), dim=1) * way[..., 2] / distance**3
        return start, waist, solid / (4 * math.pi)

    def _reach(self, camera: Camera) -> Tensor:
        """Distances from the aperture to the border of its part of the plate: along -u, -v, u, v, [2, 2].

        Parts at the panel's rim reach to where no ray from inside the ring to the detector passes.
        """
        spec, eye = camera.spec, self.eye
        nearer = spec.collimator.plane_mm / spec.panels.detector_mm
        size = torch.tensor([spec.detector.columns, spec.detector.rows]) * spec.detector.pitch_mm
        rim = nearer * size / 2 + (spec.collimator.plane_mm - eye.half_plate) * (1 - nearer)
        half = nearer * size / eye.count / 2
        number = ((eye.centre - eye.lattice[0, 0]) / (eye.lattice[0, 1] - eye.lattice[0, 0])).round()
        below = torch.where(number == 0, rim + eye.centre, half)
        above = torch.where(number == eye.count - 1, rim - eye.centre, half)
        return torch.stack((below, above)).clamp_min(eye.radius)

    def _border(self, heading: Tensor) -> Tensor:
        """Distance from the aperture to the border along headings [..., 2]."""
        reach = torch.where(heading < 0, self.reach[0].float(), self.reach[1].float())
        return (reach / heading.abs().clamp_min(1e-6)).amin(dim=-1)

    def _seen(self, stops: _Stops, metal: Metal, arrival_kev: Tensor) -> Tensor:
        """First interactions in blocks per photon from some voxels, [block, k, voxel]."""
        jitter = (spread_points(stops.photons.numel(), 2).float() - 0.5) * self.pitch
        shift = torch.cat((jitter, torch.zeros_like(jitter[:, :1])), dim=1).reshape(*stops.photons.shape, 3)
        found = []
        for block in self.blocks:
            end = block + shift
            way = end - stops.place
            away = way.norm(dim=-1)
            cosine = way[..., 2] / away
            cosine_turn = ((way * stops.heading).sum(-1) / away).clamp(-1, 1)
            behind = metal_between(self.eye, stops.place, end, self.sampling.out_steps)
            lit = stops.photons * self._solid_angle(block - stops.place)
            energy = compton_kev(torch.tensor(metal.energy_kev), cosine_turn)
            angle = cosine_turn.acos()
            classes = [
                self._stopped(lit * float(n) / (4 * math.pi), e, behind, cosine, metal)
                for e, n in zip(metal.k_kev.float(), metal.k_photons, strict=True)
            ]
            compton = self._stopped(lit * at_angle(metal.compton, angle), energy, behind, cosine, metal)
            for low, high in arrival_kev[len(classes) :].tolist():
                classes.append(compton * ((energy >= low) & (energy < high)))
            found.append(torch.stack([c.sum(dim=1) for c in classes]))
        return torch.stack(found)

    def _stopped(
        self, photons: Tensor, energy_kev: Tensor, behind: Tensor, cosine: Tensor, metal: Metal
    ) -> Tensor:
        """Of photons that set out, those that get through the metal and interact in the detector."""
        slant = at_energy(self.detector_mu, self.nodes_kev, energy_kev) * self.thickness
        out = torch.exp(-at_energy(metal.out, metal.energies_kev, energy_kev) * behind)
        return photons * out * -torch.expm1(-slant / cosine.clamp_min(1e-3))

    def _solid_angle(self, way: Tensor) -> Tensor:
        """Solid angle of a block at (u, v, h) from a point, [...] sr."""
        total = torch.zeros_like(way[..., 0])
        for sign_u in (1, -1):
            for sign_v in (1, -1):
                u = way[..., 0] + sign_u * self.pitch / 2
                v = way[..., 1] + sign_v * self.pitch / 2
                h = way[..., 2].clamp_min(1e-4)
                corner = torch.atan(u * v / (h * (u * u + v * v + h * h).sqrt()))
                total = total + sign_u * sign_v * corner
        return total
