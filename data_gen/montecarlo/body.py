"""The imaged object: voxels of tissue, crossed by Woodcock (delta) tracking.

From density (g/cm3), tissue and photons (mm from the grid centre, keV): the next interaction point (mm) and
its tissue. Cross sections, Rayleigh scatter included: ``medium.py``. Method: Woodcock et al., ANL-7050
(1965).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.materials import TISSUES, tissue_from_density
from data_gen.montecarlo.medium import Medium, medium
from data_gen.montecarlo.photons import Photons
from data_gen.montecarlo.variance_reduction import uniform


@dataclass(frozen=True)
class Body:
    """Voxels that absorb and scatter, in vacuum.

    Args:
        grid: voxels.
        density: [z, y, x] in g/cm3.
        material: [z, y, x] index into ``data_gen.materials.TISSUES``; None derives it from the density.

    Raises:
        UserError: a tensor is not on the grid, or a density is negative.
    """

    grid: VoxelGrid
    density: Tensor
    material: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("density", "material"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != self.grid.shape:
                raise UserError(
                    f"object.{name} is {list(value.shape)}; the grid needs {list(self.grid.shape)}"
                )
        if not float(self.density.min()) >= 0:
            raise UserError(f"object.density has {float(self.density.min())}; it needs 0 g/cm3 or more")


class Tissues:
    """A body prepared for tracking, on some device."""

    def __init__(self, body: Body, device: torch.device) -> None:
        self.grid = body.grid
        tissue = tissue_from_density(body.density) if body.material is None else body.material
        self.density = body.density.to(device, torch.float64).reshape(-1)
        self.tissue = tissue.to(device, torch.int64).reshape(-1)
        z, y, x = body.grid.extent_mm
        self.half_mm = torch.tensor((x / 2, y / 2, z / 2), dtype=torch.float64, device=device)
        z, y, x = body.grid.spacing_mm
        self.spacing_mm = torch.tensor((x, y, z), dtype=torch.float64, device=device)
        self.media: list[Medium] = [medium(name) for name in TISSUES]
        self.highest_density_g_cm3 = [  # by tissue
            float(self.density[self.tissue == k].max()) if bool((self.tissue == k).any()) else 0.0
            for k in range(len(TISSUES))
        ]

    def collide(self, photons: Photons, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Move photons to their next interaction, or out of the object.

        Returns:
            Position mm [n, 3] (the start point for photons that leave), whether they interact [n], and tissue
            index [n].
        """
        enter, leave = self._box(photons)
        position, tissue = photons.position.clone(), torch.zeros_like(photons.line)
        stopped = torch.zeros_like(leave, dtype=torch.bool)
        # In mm-1 per g/cm3, from cm2/g.
        mass_attenuation = torch.stack([m.total(photons.energy_kev) for m in self.media], dim=1) / 10.0
        highest_density = mass_attenuation.new_tensor(self.highest_density_g_cm3)
        majorant_per_mm = (mass_attenuation * highest_density).amax(dim=1)
        flying = ((leave > enter) & (majorant_per_mm > 0)).nonzero()[:, 0]
        distance = enter[flying]
        while len(flying):
            distance = distance - torch.log1p(-uniform(len(flying), generator)) / majorant_per_mm[flying]
            inside = distance < leave[flying]
            flying, distance = flying[inside], distance[inside]
            point = photons.position[flying] + distance[:, None] * photons.direction[flying]
            voxel = self._voxel(point)
            kind = self.tissue[voxel]
            attenuation_per_mm = self.density[voxel] * mass_attenuation[flying, kind]
            real = attenuation_per_mm > uniform(len(flying), generator) * majorant_per_mm[flying]
            hit = flying[real]
            stopped[hit], position[hit], tissue[hit] = True, point[real], kind[real]
            flying, distance = flying[~real], distance[~real]
        return position, stopped, tissue

    def _box(self, photons: Photons) -> tuple[Tensor, Tensor]:
        """Distances at which photons enter and leave the grid; leave <= enter where they miss it."""
        direction = torch.where(photons.direction.abs() < 1e-12, 1e-12, photons.direction)
        first = (-self.half_mm - photons.position) / direction
        second = (self.half_mm - photons.position) / direction
        return torch.minimum(first, second).amax(dim=1).clamp_min(0), torch.maximum(first, second).amin(dim=1)

    def _voxel(self, point: Tensor) -> Tensor:
        """Flat index of the voxel at points [k, 3] inside the grid."""
        nz, ny, nx = self.grid.shape
        index = ((point + self.half_mm) / self.spacing_mm).to(torch.int64)
        x, y, z = (index[:, k].clamp(0, n - 1) for k, n in enumerate((nx, ny, nz)))
        return (z * ny + y) * nx + x
