"""K photons and Compton photons that the collimator sends on."""

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
from data_gen.scatter.collimator.cross_sections import metal_arrivals
from data_gen.scatter.collimator.object_then_collimator import (
    ObjectThenCollimator,
    Scatterers,
    ScatterTowardsCollimator,
)
from data_gen.scatter.collimator.response_matrix import kept_matrix
from data_gen.scatter.collimator.sampling import MetalSampling
from data_gen.scatter.energy_classes import EnergyClasses, shares_of_parts


class CollimatorScatter(nn.Module):
    """K fluorescence and Compton scatter of plate and septa, of several orders: see ``ScatterTerm``.

    Photons of a voxel meet metal around an aperture; wherever they stop, K photons start evenly in all
    directions and Compton photons by Klein and Nishina with the incoherent scattering function; what gets
    out of the metal towards a block is counted: a block behind this aperture where septa are opaque, any
    block of the panel where they are not. Compton photons that stay in metal stop again, at their own energy.
    Classes k are the K lines by rising energy, then Compton photons by falling energy. The object attenuates
    on the way to the aperture; what it scatters meets metal too. Coherent scatter in metal is taken for none,
    as the projector does.

    Args:
        camera: the camera, with its own pixels.
        grid: voxels.
        energies_kev: energies of emission [g].
        sampling: how finely.
        block_mm: edge of the blocks of pixels, as seen at the isocentre, at most.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        sampling: MetalSampling | None = None,
        block_mm: float = 6.0,
    ) -> None:
        super().__init__()
        how = sampling or MetalSampling()
        self.grid, self.coarse = grid, coarse_grid(grid, how.voxel_mm)
        self.camera = coarse_camera(camera, block_mm)
        self.energies_kev = nn.Buffer(energies_kev.to(torch.float64), persistent=False)
        arrival_kev = metal_arrivals(camera.collimator_material, self.energies_kev, how.classes)
        self._source = Resampler(source_shares(grid, self.coarse))
        self._density = Resampler(density_shares(grid, self.coarse))
        self._channels = Channels.of(self.camera)
        matrices, filled = zip(*self._kept_matrices(arrival_kev, how), strict=True)
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

    def _kept_matrices(self, arrival_kev: Tensor, how: MetalSampling) -> list[tuple[Tensor, Tensor]]:
        """Those of each energy, see :func:`kept_matrix`, built side by side since their tensors are small."""

        def make(group: tuple[float, Tensor]) -> tuple[Tensor, Tensor]:
            return kept_matrix(self.camera, self.coarse, *group, how)

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
        """Of one object [n]: transmission [g, channel, voxel], and scatterers."""
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
        """Transpose of :meth:`_seen_of`: [block, g, k, map] to [map, voxel]."""
        matrix, by_channel = self._matrix.to(values.dtype), values[self._channels.block]
        sent = torch.einsum("gcbkv,cbgkm->gcvm", matrix, by_channel)
        image = torch.einsum("gcv,gcvm->mv", through, sent)
        return image + self._before.source_of(self._again.adjoint(by_channel, through), scatterers)
