"""The interface of projectors: first interactions in the pixels per decay, before the detector response."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector.ray_casting import CasterFactory, RayCaster


class Projector(Protocol):
    """The geometric factor of the forward model at a few reference energies.

    ``attenuation`` is whatever the projector computes once for an object (maps of mu, or transmissions) and
    is passed to ``forward`` and ``adjoint``. Everything is differentiable in activity and, through
    ``attenuation``, in density.
    """

    grid: VoxelGrid
    energies_kev: Tensor
    """Reference energies [g], keV."""
    pixels: int
    """Pixels of this projector (a subset has fewer than its camera)."""

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """The object's attenuation in the form that this projector uses.

        Args:
            density: [batch, z, y, x] in g/cm3.
            material: [batch, z, y, x] index into ``data_gen.materials.TISSUES``; None derives it from
                density.
        """

    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        """First interactions a second for one photon per decay at each reference energy.

        Args:
            activity: [batch, map, z, y, x] in Bq per voxel.
            attenuation: object attenuation of the same batch, from :meth:`attenuation`.

        Returns:
            [batch, pixel, g, map] in 1/s.
        """

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """The transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""

    def subset(self, pixels: Tensor) -> Projector:
        """The same projector restricted to these pixels [k], in this order."""


class ProjectorFactory(Protocol):
    """What builds a projector: a projector class, or a function that adds settings of its own."""

    def __call__(
        self, camera: Camera, grid: VoxelGrid, energies_kev: Tensor, *, caster: CasterFactory = RayCaster
    ) -> Projector:
        """The projector of a camera at these reference energies [g] keV, with rays of this caster."""
