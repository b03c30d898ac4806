"""The imaged object: voxels of tissue, crossed by Woodcock (delta) tracking.

Inputs are the density in g/cm3 and the tissue of each voxel; lengths are in mm. Source of the method:
Woodcock et al., ANL-7050 (1965).
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
        self.densest = [
            float(self.density[self.tissue == k].max()) if bool((self.tissue == k).any()) else 0.0
            for k in range(len(TISSUES))
        ]

    def collide(self, photons: Photons, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Move photons to their next interaction, or out of the object.

        Returns:
            Place [n, 3] (where they started, for those that leave), whether they interact [n], and the index
                of the
            tissue in which they do [n].
        """
        enter, leave = self._box(photons)
        position, tissue = photons.position.clone(), torch.zeros_like(photons.line)
        stopped = torch.zeros_like(leave, dtype=torch.bool)
        total = torch.stack([m.total(photons.energy_kev) for m in self.media], dim=1) / 10.0
        most = (total * total.new_tensor(self.densest)).amax(dim=1)
        flying = ((leave > enter) & (most > 0)).nonzero()[:, 0]
        distance = enter[flying]
        while len(flying):
            distance = distance - torch.log1p(-uniform(len(flying), generator)) / most[flying]
            inside = distance < leave[flying]
            flying, distance = flying[inside], distance[inside]
            point = photons.position[flying] + distance[:, None] * photons.direction[flying]
            voxel = self._voxel(point)
            kind = self.tissue[voxel]
            real = self.density[voxel] * total[flying, kind] > uniform(len(flying), generator) * most[flying]
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
