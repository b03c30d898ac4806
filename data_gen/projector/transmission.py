"""Transmission of the object on the line from each voxel to each aperture: exp(-integral of mu).

From density by tissue in g/cm3 and mass attenuation in 1/mm per g/cm3; dimensionless.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.autograd import recomputed
from data_gen.core.grid import VoxelGrid


class ApertureTransmission(nn.Module):
    """exp(-path of mu) from voxel centres to aperture centres.

    Paths are traced from every ``stride``-th voxel and interpolated, since they change slowly.

    Args:
        aperture_mm: aperture centres [aperture, 3].
        mass_attenuation: of each tissue at each energy [tissue, g], 1/mm per g/cm3.
        grid: voxels.
        stride: voxels between traced ones.
    """

    def __init__(
        self, aperture_mm: Tensor, mass_attenuation: Tensor, grid: VoxelGrid, stride: int = 2
    ) -> None:
        super().__init__()
        self.grid = grid
        self.coarse = tuple(math.ceil((n - 1) / stride) + 1 for n in grid.shape)
        axes = [
            torch.linspace(float(a[0]), float(a[-1]), n)
            for a, n in zip(_axes(grid), self.coarse, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        self.steps = max(8, math.ceil(0.75 * max(grid.shape)))
        self.register_buffer(
            "start_mm", torch.stack((x, y, z), dim=-1).reshape(-1, 3).double(), persistent=False
        )
        self.register_buffer("aperture_mm", aperture_mm.detach(), persistent=False)
        self.register_buffer("mass_attenuation", mass_attenuation, persistent=False)

    start_mm: Tensor
    aperture_mm: Tensor
    mass_attenuation: Tensor

    def forward(self, tissue_density: Tensor, mirrors: tuple[tuple[int, ...], ...] = ((),)) -> Tensor:
        """Transmission to each aperture, and through the mirrored object to each aperture.

        Args:
            tissue_density: density by tissue [batch, tissue, z, y, x] in g/cm3.
            mirrors: axes to flip, for each mirror image of the object.

        Returns:
            [batch, g, aperture, voxel, mirror].
        """
        mirrored = torch.stack([tissue_density.flip(axes) for axes in mirrors])
        return torch.stack([self._traced(mirrored, a) for a in range(len(self.aperture_mm))], dim=2)

    def _traced(self, mirrored: Tensor, aperture: int) -> Tensor:
        """:meth:`_one`, recomputed in the backward pass rather than stored."""
        return recomputed(self._one, mirrored, aperture, needed=mirrored.requires_grad)

    def _one(self, mirrored: Tensor, aperture: int) -> Tensor:
        """Transmission to one aperture, [batch, g, voxel, mirror]."""
        point, step = self._samples(aperture)
        images, tissues = mirrored.shape[0] * mirrored.shape[1], mirrored.shape[2]
        where = point.to(mirrored.dtype).expand(images, *point.shape)[:, None]
        sampled = functional.grid_sample(
            mirrored.flatten(0, 1), where, padding_mode="zeros", align_corners=False
        )
        path = torch.einsum("itvs,v->itv", sampled[:, :, 0], step.to(mirrored.dtype))
        fine = functional.interpolate(
            path.reshape(images, tissues, *self.coarse),
            size=self.grid.shape,
            mode="trilinear",
            align_corners=True,
        )
        attenuation = torch.einsum("itv,tg->igv", fine.flatten(2), self.mass_attenuation.to(fine.dtype))
        transmission: Tensor = torch.exp(-attenuation).unflatten(0, mirrored.shape[:2]).movedim(0, -1)
        return transmission.contiguous()

    def _samples(self, aperture: int) -> tuple[Tensor, Tensor]:
        """Midpoints of steps out of the grid, for grid_sample [voxel, step, 3], and mm of a step [voxel]."""
        way = self.aperture_mm[aperture] - self.start_mm
        z, y, x = self.grid.extent_mm
        half = torch.tensor((x, y, z), dtype=way.dtype, device=way.device) / 2
        face = torch.where(way > 0, half, -half)
        share = ((face - self.start_mm) / torch.where(way == 0, 1e-9, way)).abs().amin(dim=1).clamp_max(1.0)
        midpoint = (torch.arange(self.steps, dtype=way.dtype, device=way.device) + 0.5) / self.steps
        point = self.start_mm[:, None] + (share[:, None] * midpoint)[..., None] * way[:, None]
        return point / half, share * way.norm(dim=1) / self.steps


def _axes(grid: VoxelGrid) -> list[Tensor]:
    return [grid.axis_mm(axis) for axis in range(3)]
