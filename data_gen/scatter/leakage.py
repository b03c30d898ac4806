"""Unscattered photons through the plate or a septum instead of through the pixel's own aperture.

First interactions in blocks of pixels per second from activity in Bq per voxel. docs/physics.md, section 5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.camera.binning import coarse_camera, seeing_every_aperture
from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import (
    Resampler,
    coarse_grid,
    density_shares,
    linear_shares,
)
from data_gen.projector import MatrixProjector, ProjectorFactory
from data_gen.projector.leak import leak_caster
from data_gen.scatter.energy_classes import EnergyClasses

VOXEL_MM = 2.0
"""Largest edge of the coarse voxels; docs/physics.md, section 5."""
BLOCK_MM = 6.0
"""Largest edge of the blocks of pixels, as seen at the isocentre; docs/physics.md, section 5."""

SHADED_BLOCK_MM, SHADED_RAYS = 3.0, 0.375
"""Edge of the blocks where septa cast shadows, and fraction of the rays to each if there are so many more."""


class Leakage(nn.Module):
    """Leakage through plate and septa, on blocks of pixels: see ``ScatterTerm``.

    Nothing is scattered: photons arrive with the energy of emission, so there is one class, a line.

    Args:
        camera: the camera, with its own pixels.
        grid: voxels.
        energies_kev: energies of emission [g].
        sharp_kev: at this energy and below, rays through a pixel's own aperture are left to the projector;
            above there is none, and they count here.
        projector: of the coarse camera.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        sharp_kev: float = math.inf,
        projector: ProjectorFactory = MatrixProjector,
    ) -> None:
        super().__init__()
        self.grid, self.coarse = grid, coarse_grid(grid, VOXEL_MM)
        blocks = coarse_camera(camera, SHADED_BLOCK_MM if camera.spec.collimator.septa else BLOCK_MM)
        rays = SHADED_RAYS if blocks.pixel_count > coarse_camera(camera, BLOCK_MM).pixel_count else 1.0
        self.camera = seeing_every_aperture(blocks)
        self.energies_kev = nn.Buffer(energies_kev.to(torch.float64), persistent=False)
        self.arrivals = EnergyClasses.evenly(self.energies_kev[:, None, None].expand(-1, 1, 2))
        self._source = Resampler(linear_shares(grid, self.coarse))
        self._density = Resampler(density_shares(grid, self.coarse))
        self.projector = projector(
            self.camera, self.coarse, self.energies_kev, caster=leak_caster(grid, sharp_kev, rays)
        )

    energies_kev: Tensor

    def state(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """The projector's attenuation of the coarse object; see ``ScatterTerm.state``."""
        coarse = self._density(density)
        if material is None:
            return self.projector.attenuation(coarse)
        near = [share.argmax(dim=1) for share in self._density.shares]  # a fine voxel inside each coarse one
        return self.projector.attenuation(coarse, material[:, near[0]][:, :, near[1]][..., near[2]])

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        """First interactions a second [batch, block, g, 1, map]; see ``ScatterTerm.forward``."""
        return self.projector.forward(self._source(activity), state)[:, :, :, None]

    def adjoint(self, values: Tensor, state: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, block, g, 1, map] to [batch, map, z, y, x]."""
        return self._source.transpose(self.projector.adjoint(values[:, :, :, 0], state))
