"""Photons that the object scatters once or twice, by Compton and Rayleigh scatter.

First interactions in blocks of pixels per second, by class of arrival energy (keV), from activity in Bq per
voxel and density in g/cm3. docs/physics.md, section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.camera.binning import coarse_camera
from data_gen.core.autograd import linear, recomputed
from data_gen.core.grid import VoxelGrid
from data_gen.core.resampling import Resampler, coarse_grid, density_shares, source_shares
from data_gen.materials.object_attenuation import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.scatter.channels import Channels
from data_gen.scatter.collimation import collimation, energy_nodes, node_weights
from data_gen.scatter.differential_cross_sections import (
    arrival_classes,
    compton_filling,
    mean_scattered_kev,
    scatterer_ratios,
    spread_arrivals,
    turning_series,
)
from data_gen.scatter.energy_classes import EnergyClasses
from data_gen.scatter.harmonics import harmonics
from data_gen.scatter.single_scatter import Kept, Seen, SingleScatter
from data_gen.scatter.voxel_to_voxel import flight_table, path_by_tissue


@dataclass(frozen=True)
class ScatterSampling:
    """Resolution of the scatter computation; finer is slower.

    Args:
        voxel_mm: edge of the coarse voxels, at most.
        block_mm: edge of the blocks of pixels, projected to the isocentre, at most.
        order: largest order of the spherical harmonics of directions.
        classes: number of classes of arrival energy after Compton scatter.
        twice_order: largest order of the harmonics for photons scattered twice.
        twice_classes: energy classes for photons scattered twice; 0 leaves them out.
    """

    voxel_mm: float = 3.3
    block_mm: float = 6.0
    order: int = 4
    classes: int = 8
    twice_order: int = 2
    twice_classes: int = 4


class ObjectScatter(nn.Module):
    """Scatter in the object: see ``ScatterTerm``.

    A source voxel v contributes the fluence exp(-path) / (4 pi r^2) to a voxel s; there, Compton scatter
    (Klein-Nishina with the incoherent scattering function) and Rayleigh scatter (form factor) turn photons
    towards an aperture, and scattered photons are collimated like emission from s at their arrival energy.
    Directions are spherical harmonics, and all factors are averages over voxels, so nothing is singular.
    Photons scattered twice start again isotropically, at the mean energy after Compton scatter.

    Classes k: Rayleigh scattered, Compton scattered in descending energy; then the same for photons that were
    Compton scattered before.

    Args:
        camera: the camera, with its own pixels.
        grid: voxels.
        energies_kev: energies of emission [g].
        sampling: resolution of the computation.
    """

    def __init__(
        self, camera: Camera, grid: VoxelGrid, energies_kev: Tensor, sampling: ScatterSampling | None = None
    ) -> None:
        super().__init__()
        how = sampling or ScatterSampling()
        self.grid, self.coarse = grid, coarse_grid(grid, how.voxel_mm)
        self.camera = coarse_camera(camera, how.block_mm)
        self.energies_kev = nn.Buffer(energies_kev.to(torch.float64), persistent=False)
        self._source = Resampler(source_shares(grid, self.coarse))
        self._density = Resampler(density_shares(grid, self.coarse))
        self._channels = Channels.of(self.camera)
        emitted_kev = [self.energies_kev, mean_scattered_kev(self.energies_kev)]
        counts = [(how.classes, how.order), (how.twice_classes, how.twice_order)]
        if not how.twice_classes:
            emitted_kev, counts = emitted_kev[:1], counts[:1]
        arrivals = [arrival_classes(e, count) for e, (count, _) in zip(emitted_kev, counts, strict=True)]
        spread = [spread_arrivals(arrival, self.energies_kev) for arrival in arrivals[1:]]
        filling = [EnergyClasses.evenly(s).filling for s in spread]
        filling = [compton_filling(self.energies_kev, arrivals[0]), *filling]
        self.arrivals = EnergyClasses(torch.cat((arrivals[0], *spread), dim=1), torch.cat(filling, dim=1))
        nodes_kev = energy_nodes(torch.cat(arrivals, dim=1), self.camera.collimator_material)
        # [node, channel, block of channel, voxel]
        seen = collimation(self.camera, self.coarse, nodes_kev)[:, self._channels.block]
        self._seen = nn.Buffer(seen, persistent=False)
        flight = flight_table(self.coarse, how.order)
        self._scatters = nn.ModuleList(
            self._single_scatter(energies, arrival, order, flight, nodes_kev)
            for energies, arrival, (_, order) in zip(emitted_kev, arrivals, counts, strict=True)
        )
        self._to_channel = ApertureTransmission(
            self._channels.aim_mm, tissue_attenuation(nodes_kev), self.coarse, 1
        )

    energies_kev: Tensor
    _seen: Tensor

    def _single_scatter(
        self, energies_kev: Tensor, arrival_kev: Tensor, order: int, flight: Tensor, nodes_kev: Tensor
    ) -> SingleScatter:
        """One scatter of photons of these energies into classes of these arrival energies."""
        way = self._channels.aim_mm - self.coarse.centres_mm().reshape(-1, 1, 3)
        # Equivalent even emission per fluence: 4 pi times mm3 per cm2/g/sr times g/cm3.
        volume = 0.1 * 1000.0 * self.coarse.voxel_volume_ml
        return SingleScatter(
            self.coarse,
            flight[: (order + 1) ** 2],
            harmonics(way / way.norm(dim=-1, keepdim=True), order),
            4 * math.pi * volume * turning_series(energies_kev, arrival_kev, order),
            node_weights(arrival_kev, nodes_kev, self._seen, self.camera),
            scatterer_ratios(energies_kev, arrival_kev.shape[1] - 1),
            tissue_attenuation(energies_kev),
        )

    @property
    def _passages(self) -> list[SingleScatter]:
        """The first scatter of photons, and the second."""
        return [cast(SingleScatter, scatter) for scatter in self._scatters]

    def state(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Scatterers and transmissions of an object, [batch, n]; see ``ScatterTerm.state``."""
        tissues = self._density(density_by_tissue(density, material, self.grid))
        path = recomputed(path_by_tissue, tissues, self.coarse, needed=tissues.requires_grad)
        parts = [self._to_channel(tissues)[..., 0]]
        for passage in self._passages:
            parts += passage.of(tissues, path)
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _kept(self, state: Tensor) -> tuple[Seen, list[Kept]]:
        """State of one object [n]: transmission to the channels, and what each passage needs."""
        voxels = self.coarse.voxels
        shapes: list[tuple[int, ...]] = [(*self._seen.shape[:2], voxels)]
        for passage in self._passages:
            groups, classes = passage.turning.shape[:2]
            shapes += [(groups, classes, voxels), (groups, voxels, voxels)]
        parts = state.split([math.prod(shape) for shape in shapes])
        out, *rest = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        kept = [Kept(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        return Seen(self._seen.to(out.dtype), out), kept

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        """First interactions a second [batch, block, g, k, map]; see ``ScatterTerm.forward``."""
        source = self._source(checked_activity(activity, self.grid)).flatten(2)
        return torch.stack([self._applied(*one) for one in zip(source, state, strict=True)])

    def _applied(self, source: Tensor, state: Tensor) -> Tensor:
        """:meth:`_project` of one source [map, voxel], its gradient by the transpose where that is all."""
        return linear(
            lambda x: self._project(x, state),
            lambda y: self._back_project(y, state),
            source,
            fixed=not state.requires_grad,
        )

    def _project(self, source: Tensor, state: Tensor) -> Tensor:
        """Blocks [block, g, k, map] that see a source [map, voxel]."""
        channels, kept = self._kept(state)
        sent = source.expand(len(self.energies_kev), -1, -1)
        parts = []
        for passage, here in zip(self._passages, kept, strict=True):
            fluence = passage.fluence(sent, here.between)
            parts.append(passage.seen(fluence, here, channels))
            sent = passage.scattered(fluence, here.scatterer)
        return self._channels.by_block(torch.cat(parts, dim=3))

    def adjoint(self, values: Tensor, state: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, block, g, k, map] to [batch, map, z, y, x]."""
        source = torch.stack([self._back_project(*one) for one in zip(values, state, strict=True)])
        return self._source.transpose(source.unflatten(2, self.coarse.shape))

    def _back_project(self, values: Tensor, state: Tensor) -> Tensor:
        """Transpose of :meth:`_project`: [block, g, k, map] to [map, voxel]."""
        channels, kept = self._kept(state)
        classes = [passage.turning.shape[1] for passage in self._passages]
        by_passage = values[self._channels.block].split(classes, dim=3)
        sent: Tensor | None = None
        for passage, here, part in reversed(list(zip(self._passages, kept, by_passage, strict=True))):
            fluence = passage.unseen(part, here, channels)
            if sent is not None:
                fluence = fluence + passage.unscattered(sent, here.scatterer)
            sent = passage.source_of(fluence, here.between)
        assert sent is not None
        return sent.sum(dim=0)
