"""The scatter term of the collimator: K X-rays and Compton photons from plate and septa.

First interactions in blocks of pixels per second, by class of arrival energy (keV), from activity in Bq per
voxel and density in g/cm3. docs/physics.md, section 6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.camera.binning import coarse_camera
from data_gen.core.grid import VoxelGrid
from data_gen.core.parallel import on_all_cores, told
from data_gen.core.resampling import Resampler, coarse_grid, density_shares, source_shares
from data_gen.materials.object_attenuation import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.scatter.channels import Channels
from data_gen.scatter.collimator.cross_sections import arrival_edges
from data_gen.scatter.collimator.object_then_collimator import (
    ObjectThenCollimator,
    Scatterers,
    ScatterTowardsCollimator,
)
from data_gen.scatter.collimator.response_matrix import camera_matrix
from data_gen.scatter.collimator.sampling import CollimatorSampling
from data_gen.scatter.energy_classes import EnergyClasses, shares_of_parts


class CollimatorScatter(nn.Module):
    """K fluorescence and Compton scatter of plate and septa, of several orders: see ``ScatterTerm``.

    Photons of a voxel interact in the metal around an aperture; from each interaction, K X-rays start
    isotropically and Compton photons by Klein-Nishina with the incoherent scattering function; those that
    escape from the metal towards a block are counted: a block behind this aperture where septa are opaque,
    any block of the panel where they are not. Compton photons that stay in metal interact again, at their own
    energy. Classes k are the K lines in ascending energy, then Compton photons in descending energy. The
    object attenuates photons on their way to the aperture; photons that it scatters interact in the metal
    too. Coherent scatter in metal is neglected, as in the projector.

    Args:
        camera: the camera, with its own pixels.
        grid: voxels.
        energies_kev: energies of emission [g].
        sampling: resolution of the computation.
        block_mm: edge of the blocks of pixels, projected to the isocentre, at most.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        sampling: CollimatorSampling | None = None,
        block_mm: float = 6.0,
    ) -> None:
        super().__init__()
        how = sampling or CollimatorSampling()
        self.grid, self.coarse = grid, coarse_grid(grid, how.voxel_mm)
        self.camera = coarse_camera(camera, block_mm)
        self.energies_kev = nn.Buffer(energies_kev.to(torch.float64), persistent=False)
        arrival_kev = arrival_edges(camera.collimator_material, self.energies_kev, how.classes)
        self._source = Resampler(source_shares(grid, self.coarse))
        self._density = Resampler(density_shares(grid, self.coarse))
        self._channels = Channels.of(self.camera)
        matrices, filled = zip(*self._matrices(arrival_kev, how), strict=True)
        # [g, channel, block of channel, k, voxel]
        self._matrix = nn.Buffer(torch.stack(matrices)[:, self._channels.block], persistent=False)
        lines = EnergyClasses.evenly(arrival_kev[:, : -how.classes])
        filling = torch.cat((lines.filling, shares_of_parts(torch.stack(filled).double())), dim=1)
        self.arrivals = EnergyClasses(arrival_kev, filling, lines.kev.shape[1])
        self._before = ScatterTowardsCollimator(camera, self.coarse, self.energies_kev)
        self._again = ObjectThenCollimator(self._before, self.arrivals, self._matrix)
        self._to_channel = ApertureTransmission(
            self._channels.aim_mm, tissue_attenuation(self.energies_kev), self.coarse, 1
        )

    energies_kev: Tensor
    _matrix: Tensor

    def _matrices(self, arrival_kev: Tensor, how: CollimatorSampling) -> list[tuple[Tensor, Tensor]]:
        """Response matrix of each energy, see :func:`camera_matrix`, computed in parallel."""

        def make(group: tuple[float, Tensor]) -> tuple[Tensor, Tensor]:
            return camera_matrix(self.camera, self.coarse, *group, how)

        kept = []
        groups = list(zip(self.energies_kev.tolist(), arrival_kev, strict=True))
        with told("matrices of scatter in the collimator", len(groups)) as advance:
            for matrices in on_all_cores(make, groups):
                kept.append(matrices)
                advance()
        return kept

    def state(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Transmission to each channel, and scatterers, [batch, n]; see ``ScatterTerm.state``."""
        tissues = self._density(density_by_tissue(density, material, self.grid))
        parts = (self._to_channel(tissues)[..., 0], *self._before.of(tissues))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _kept(self, state: Tensor) -> tuple[Tensor, Scatterers]:
        """State of one object [n]: transmission [g, channel, voxel], and scatterers."""
        energies, channels, voxels = len(self._matrix), self._matrix.shape[1], self.coarse.voxels
        shapes = [(energies, channels, voxels), (energies, energies, voxels), (energies, voxels, voxels)]
        parts = state.split([math.prod(shape) for shape in shapes])
        through, rate, between = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return through, Scatterers(rate, between)

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        """First interactions a second [batch, block, g, k, map]; see ``ScatterTerm.forward``."""
        source = self._source(checked_activity(activity, self.grid)).flatten(2)
        return torch.stack([self._project(s, *self._kept(one)) for s, one in zip(source, state, strict=True)])

    def _project(self, source: Tensor, through: Tensor, scatterers: Scatterers) -> Tensor:
        """Blocks [block, g, k, map] that see a source [map, voxel]."""
        matrix = self._matrix.to(source.dtype)
        seen = torch.einsum("gcbkv,gcvm->cbgkm", matrix, through[..., None] * source.T)
        scattered = self._before.sources(source, scatterers)
        return self._channels.by_block(seen + self._again.forward(scattered, through))

    def adjoint(self, values: Tensor, state: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, block, g, k, map] to [batch, map, z, y, x]."""
        back = [self._back_project(v, *self._kept(one)) for v, one in zip(values, state, strict=True)]
        return self._source.transpose(torch.stack(back).unflatten(2, self.coarse.shape))

    def _back_project(self, values: Tensor, through: Tensor, scatterers: Scatterers) -> Tensor:
        """Transpose of :meth:`_project`: [block, g, k, map] to [map, voxel]."""
        matrix, by_channel = self._matrix.to(values.dtype), values[self._channels.block]
        sent = torch.einsum("gcbkv,cbgkm->gcvm", matrix, by_channel)
        image = torch.einsum("gcv,gcvm->mv", through, sent)
        return image + self._before.source_of(self._again.adjoint(by_channel, through), scatterers)
