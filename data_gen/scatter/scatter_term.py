"""The interface of scatter terms: photons that reach the detector other than straight through an aperture."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.scatter.energy_classes import EnergyClasses


class ScatterTerm(Protocol):
    """First interactions in the detector of photons that leaked, or changed direction or energy on their way.

    They vary smoothly, so they are computed on blocks of pixels. Linear in activity at a fixed object, and
    differentiable in both.
    """

    grid: VoxelGrid
    """Voxels of activity and density."""
    camera: Camera
    """The camera with binned pixels: its pixels are the blocks."""
    energies_kev: Tensor
    """Energies of emission [g], keV."""
    arrivals: EnergyClasses
    """The classes k of the energies in which photons arrive."""

    def state(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """What is computed once for an object, first axis batch.

        Args:
            density: [batch, z, y, x] in g/cm3.
            material: [batch, z, y, x] index into ``data_gen.materials.TISSUES``; None derives it from
                density.
        """

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        """First interactions a second in each block, for one photon per decay at each energy of emission.

        Args:
            activity: [batch, map, z, y, x] in Bq per voxel.
            state: of the same batch, from :meth:`state`.

        Returns:
            [batch, block, g, k, map] in 1/s.
        """

    def adjoint(self, values: Tensor, state: Tensor) -> Tensor:
        """The transpose of :meth:`forward`: [batch, block, g, k, map] to [batch, map, z, y, x]."""
