"""The ray-traced projector: nothing is stored, everything is differentiable.

First interactions per decay [pixel, g, map] from activity in Bq per voxel, as line integrals of attenuated
activity (docs/physics.md, section 3), and the transpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.camera import Camera
from data_gen.core.autograd import recomputed
from data_gen.core.grid import VoxelGrid
from data_gen.materials.object_attenuation import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.crossings import cross_grid, main_axis
from data_gen.projector.ray_casting import CasterFactory, RayCaster
from data_gen.projector.sampling import RaySampling

SAMPLES_AT_ONCE = 2_000_000
"""Points along rays held at a time, which bounds the memory."""


class RayProjector(nn.Module):
    """Line integrals of attenuated activity along the rays of every pixel, traced at each call.

    Differentiable in activity, in density, and in every tensor of the camera: poses, diameters, openings.
    The object attenuates each ray along its own path.

    Args:
        camera: the camera; ``dataclasses.replace`` gives it tensors that require gradients.
        grid: voxels.
        energies_kev: reference energies [g].
        sampling: numbers of rays.
        planes_per_voxel: planes of integration per voxel, along the axis nearest to each ray.
        caster: of the rays; by default those through apertures.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        sampling: RaySampling | None = None,
        planes_per_voxel: int = 1,
        caster: CasterFactory = RayCaster,
    ) -> None:
        super().__init__()
        self.grid, self.camera, self.pixels = grid, camera, camera.pixel_count
        self.planes_per_voxel = planes_per_voxel
        self.register_buffer("energies_kev", energies_kev.to(torch.float64), persistent=False)
        self.register_buffer("mass_attenuation", tissue_attenuation(self.energies_kev), persistent=False)
        casters = [caster(camera, e, sampling or RaySampling()) for e in self.energies_kev.tolist()]
        for own in casters:
            own.choose_rays(grid)
        self.casters = nn.ModuleList(casters)
        self.register_buffer("pairs", camera.pairs, persistent=False)
        self.register_buffer("axes", main_axis(camera, camera.pairs), persistent=False)

    energies_kev: Tensor
    mass_attenuation: Tensor
    pairs: Tensor
    """(pixel, aperture) that see each other, [pair, 2]."""
    axes: Tensor
    """Axis of the grid that the rays of each pair run along, [pair]."""

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Density of each tissue [batch, tissue, z, y, x]; see ``Projector.attenuation``."""
        return density_by_tissue(density, material, self.grid)

    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        """First interactions a second [batch, pixel, g, map]; see ``Projector.forward``."""
        batch, maps = checked_activity(activity, self.grid).shape[:2]
        asked = activity.requires_grad or attenuation.requires_grad or bool(self.camera.asked_gradients)
        seen = []
        for g, caster in enumerate(self._casters()):
            total = activity.new_zeros(batch, self.pixels, maps)
            for pairs, axis in self._chunks(caster):
                part = recomputed(self._seen, activity, attenuation, g, caster, pairs, axis, needed=asked)
                total = total.index_add(1, pairs[:, 0], part)
            seen.append(total)
        return torch.stack(seen, dim=2)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""
        batch, _, _, maps = values.shape
        image = values.new_zeros(batch, maps, *self.grid.shape)
        keep = torch.is_grad_enabled() and (
            values.requires_grad or attenuation.requires_grad or bool(self.camera.asked_gradients)
        )
        for g, caster in enumerate(self._casters()):
            for pairs, axis in self._chunks(caster):
                with torch.enable_grad():
                    source = torch.zeros_like(image, requires_grad=True)
                    seen = self._seen(source, attenuation, g, caster, pairs, axis)
                    back = torch.autograd.grad(seen, source, values[:, pairs[:, 0], g], create_graph=keep)
                image = image + back[0]
        return image

    def subset(self, pixels: Tensor) -> RayProjector:
        """The same projector restricted to these pixels [k], in this order."""
        pairs, centre = self.camera.pairs, self.camera.pixel_centre_mm
        pixels = pixels.to(pairs.device)
        place = torch.full((self.pixels,), -1, dtype=torch.int64, device=pairs.device)
        place[pixels] = torch.arange(len(pixels), device=pairs.device)
        chosen = (place[pairs[:, 0]] >= 0).nonzero()[:, 0]
        own = torch.stack((place[pairs[chosen, 0]], pairs[chosen, 1]), dim=1)
        camera = replace(self.camera, pixel_centre_mm=centre[pixels], pairs=own)
        other = RayProjector.__new__(RayProjector)
        nn.Module.__init__(other)
        other.grid, other.planes_per_voxel = self.grid, self.planes_per_voxel
        other.camera, other.pixels, other.casters = camera, len(pixels), self.casters
        device = self.pairs.device
        buffers = {
            "energies_kev": self.energies_kev,
            "mass_attenuation": self.mass_attenuation,
            "pairs": own.to(device),
            "axes": main_axis(camera, own).to(device),
        }
        for name, buffer in buffers.items():
            other.register_buffer(name, buffer, persistent=False)
        return other

    def _casters(self) -> list[RayCaster]:
        """The casters of each energy, with the camera where this projector lies."""
        camera = self.camera.to(self.pairs.device)
        return [cast(RayCaster, caster).seeing(camera) for caster in self.casters]

    def _chunks(self, caster: RayCaster) -> Iterator[tuple[Tensor, int]]:
        """Pairs whose rays run along the same axis of the grid, a few at a time, and that axis."""
        for axis in range(3):
            chosen = self.pairs[self.axes == axis]
            planes = self.grid.shape[2 - axis] * self.planes_per_voxel
            if len(chosen):
                parts = chosen.split(max(1, SAMPLES_AT_ONCE // (caster.rays * planes)))
                yield from ((part, axis) for part in parts)

    def _seen(
        self, activity: Tensor, tissue_density: Tensor, g: int, caster: RayCaster, pairs: Tensor, axis: int
    ) -> Tensor:
        """First interactions a second of pairs at one energy, [batch, pair, map]."""
        rays = caster.cast(pairs)
        crossings = cross_grid(rays, self.grid, axis, self.planes_per_voxel)
        maps = activity.shape[1]
        mu = torch.einsum(
            "btzyx,t->bzyx", tissue_density, self.mass_attenuation[:, g].to(tissue_density.dtype)
        )
        field = torch.cat((activity, mu[:, None].to(activity.dtype)), dim=1)
        sampled = self._sample(field, crossings.point_mm)
        step = crossings.step_mm.to(activity.dtype)
        optical = _towards_detector(sampled[:, maps] * step, crossings.towards_last)
        line = torch.einsum("bmprn,bprn->bpmr", sampled[:, :maps], step * torch.exp(-optical))
        per_volume = rays.weight / (1000.0 * self.grid.voxel_volume_ml)
        return torch.einsum("bpmr,pr->bpm", line, per_volume.to(activity.dtype))

    def _sample(self, field: Tensor, point_mm: Tensor) -> Tensor:
        """Fields [batch, channel, z, y, x] at points [pair, ray, plane, 3], points in place of z, y, x."""
        z, y, x = self.grid.extent_mm
        half = point_mm.new_tensor((x, y, z)) / 2
        where = (point_mm / half).to(field.dtype).expand(len(field), *point_mm.shape)
        flat = where.reshape(len(field), 1, 1, -1, 3)
        sampled = functional.grid_sample(field, flat, padding_mode="zeros", align_corners=False)
        return sampled.reshape(*field.shape[:2], *point_mm.shape[:3])


def _towards_detector(optical: Tensor, towards_last: Tensor) -> Tensor:
    """Optical depth from the middle of each step to the detector, [batch, pair, ray, plane]."""
    through = optical.cumsum(dim=-1)
    before = through - optical / 2
    after = through[..., -1:] - before
    return torch.where(towards_last[:, None, None], after, before)
