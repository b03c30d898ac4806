"""What is scanned: a hot sphere somewhere in a cylinder of water."""

from dataclasses import dataclass

import torch

from data_gen import VoxelGrid
from data_gen.phantoms import ORGANS, Phantom


@dataclass(frozen=True)
class HotSphere:
    """Draws phantoms; a frozen dataclass of numbers, so that a data set can say what it was made from."""

    sphere_mm: float = 8.0
    body_mm: float = 24.0
    contrast: float = 5.0

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:
        """One phantom; everything random comes from ``generator``, so that scan i is the same anywhere."""
        points_mm = grid.centres_mm()  # (x, y, z) of each voxel
        centre_mm = (torch.rand(3, generator=generator) - 0.5) * self.body_mm / 2
        body = points_mm[..., :2].norm(dim=-1) <= self.body_mm / 2
        sphere = body & ((points_mm - centre_mm).norm(dim=-1) <= self.sphere_mm / 2)
        uptake = body + (self.contrast - 1) * sphere.double()
        uptake /= uptake.sum()
        labels = body * ORGANS.index("soft_tissue")
        labels[sphere] = ORGANS.index("tumour")
        density = torch.where(body, 1.0, 0.0012)  # water and air in g/cm3
        mass_g = float(body.sum()) * grid.voxel_volume_ml
        return Phantom(density, labels, uptake, uptake, freed_fraction=0.0, body_mass_g=mass_g)
