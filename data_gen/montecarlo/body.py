"""The object: voxels of tissue, crossed by Woodcock tracking."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.materials import TISSUES, tissue_from_density
from data_gen.montecarlo.chance import uniform
from data_gen.montecarlo.medium import Medium, medium
from data_gen.montecarlo.photons import Photons


@dataclass(frozen=True)
class Body:
    """Voxels that absorb and scatter; empty space around them.

    Args:
        grid: voxels.
        density: [z, y, x] in g/cm3.
        material: [z, y, x] index into ``data_gen.materials.TISSUES``; None: told from density.

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
    """A body ready to be tracked through, on some device."""

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
        """Fly photons to their next interaction or out.

        Returns:
            Place [n, 3] (of those that leave: where they started), whether they interact [n], and in which
            tissue [n].
        """
        enter, leave = self._box(photons)
        place, tissue = photons.place.clone(), torch.zeros_like(photons.line)
        stopped = torch.zeros_like(leave, dtype=torch.bool)
        total = torch.stack([m.total(photons.energy_kev) for m in self.media], dim=1) / 10.0
        most = (total * total.new_tensor(self.densest)).amax(dim=1)
        flying = ((leave > enter) & (most > 0)).nonzero()[:, 0]
        way = enter[flying]
        while len(flying):
            way = way - torch.log1p(-uniform(len(flying), generator)) / most[flying]
            inside = way < leave[flying]
            flying, way = flying[inside], way[inside]
            point = photons.place[flying] + way[:, None] * photons.way[flying]
            voxel = self._voxel(point)
            kind = self.tissue[voxel]
            real = self.density[voxel] * total[flying, kind] > uniform(len(flying), generator) * most[flying]
            hit = flying[real]
            stopped[hit], place[hit], tissue[hit] = True, point[real], kind[real]
            flying, way = flying[~real], way[~real]
        return place, stopped, tissue

    def _box(self, photons: Photons) -> tuple[Tensor, Tensor]:
        """Distances at which photons enter and leave the grid; leave <= enter where they miss it."""
        way = torch.where(photons.way.abs() < 1e-12, 1e-12, photons.way)
        first = (-self.half_mm - photons.place) / way
        second = (self.half_mm - photons.place) / way
        return torch.minimum(first, second).amax(dim=1).clamp_min(0), torch.maximum(first, second).amin(dim=1)

    def _voxel(self, point: Tensor) -> Tensor:
        """Flat index of the voxel at points [k, 3] inside the grid."""
        nz, ny, nx = self.grid.shape
        index = ((point + self.half_mm) / self.spacing_mm).to(torch.int64)
        x, y, z = (index[:, k].clamp(0, n - 1) for k, n in enumerate((nx, ny, nz)))
        return (z * ny + y) * nx + x
