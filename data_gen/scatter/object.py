"""Photons that the object scatters once, by Compton and Rayleigh scatter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.projector.tissue import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.scatter.channels import Channels
from data_gen.scatter.coarse import (
    coarse_camera,
    coarse_grid,
    density_shares,
    resample,
    resample_back,
    source_shares,
)
from data_gen.scatter.collimation import collimation, energy_nodes, node_weights
from data_gen.scatter.flight import flight_table, path_by_tissue
from data_gen.scatter.harmonics import harmonics
from data_gen.scatter.turning import arrival_classes, scatterer_ratios, turning_series


@dataclass(frozen=True)
class ScatterSampling:
    """How finely scatter is computed; finer is slower.

    Args:
        voxel_mm: edge of the coarse voxels, at most.
        block_mm: edge of the blocks of pixels, as seen at the isocentre, at most.
        order: of the spherical harmonics of directions.
        classes: of arrival energy after Compton scatter.
    """

    voxel_mm: float = 3.3
    block_mm: float = 6.0
    order: int = 6
    classes: int = 8


class _Object(NamedTuple):
    """What is kept of one object."""

    scatterer: Tensor
    """Density in terms of soft tissue's cross section, [g, k, voxel] g/cm3."""
    between: Tensor
    """Transmission from voxel to voxel before scatter, [g, target, source]."""
    out: Tensor
    """Transmission to each channel after scatter, [node, channel, voxel]."""


class ObjectScatter(nn.Module):
    """First-order scatter in the object: see ``ScatterTerm``.

    A source voxel v sends exp(-path) / (4 pi r^2) to a voxel s; there, electrons (by Klein and Nishina, with
    the incoherent scattering function) and atoms (form factor) turn photons towards an aperture, and what
    comes from s at the energy of arrival is collimated as any source is. Directions are cut into cells, and
    all factors are means over voxels and cells, so that nothing is negative or singular. The photons of
    class k = 0 are Rayleigh scattered, the others Compton scattered, by falling energy.

    Args:
        camera: the camera, with its own pixels.
        grid: voxels.
        energies_kev: energies of emission [g].
        sampling: how finely.
    """

    def __init__(
        self, camera: Camera, grid: VoxelGrid, energies_kev: Tensor, sampling: ScatterSampling | None = None
    ) -> None:
        super().__init__()
        how = sampling or ScatterSampling()
        self.grid, self.coarse = grid, coarse_grid(grid, how.voxel_mm)
        self.camera = coarse_camera(camera, how.block_mm)
        self.energies_kev = energies_kev.to(torch.float64)
        self.arrival_kev = arrival_classes(self.energies_kev, how.classes)
        self._source, self._density = source_shares(grid, self.coarse), density_shares(grid, self.coarse)
        nodes = energy_nodes(self.arrival_kev)
        self._channels = Channels.of(self.camera)
        # [node, channel, block of channel, voxel]
        self._seen = collimation(self.camera, self.coarse, nodes)[:, self._channels.block]
        self._weight = node_weights(self.arrival_kev, nodes, self.camera)
        self._flight = flight_table(self.coarse, how.order)
        volume = 1000.0 * self.coarse.voxel_volume_ml
        # Equivalent isotropic photons per fluence: 4 pi mm3 per cm2/g/sr times g/cm3.
        series = turning_series(self.energies_kev, self.arrival_kev, how.order)
        self._turning = 0.4 * math.pi * volume * series
        way = self._channels.aim_mm - self.coarse.centres_mm().reshape(-1, 1, 3)
        self._heading = harmonics(way / way.norm(dim=-1, keepdim=True), how.order)
        self._ratios = scatterer_ratios(self.energies_kev, how.classes)
        self._mu = tissue_attenuation(self.energies_kev)
        self._to_channel = ApertureTransmission(
            self._channels.aim_mm, tissue_attenuation(nodes), self.coarse, 1
        )

    # What is kept of an object.

    def state(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Scatterers and transmissions of an object, [batch, n]; see ``ScatterTerm.state``."""
        tissues = resample(density_by_tissue(density, material, self.grid), self._density)
        ratios, mu = (t.to(tissues.dtype) for t in (self._ratios, self._mu))
        scatterer = torch.einsum("btv,tgk->bgkv", tissues.flatten(2), ratios)
        path = checkpoint(path_by_tissue, tissues, self.coarse, use_reentrant=False)
        between = torch.exp(-torch.einsum("btsv,tg->bgsv", path, mu))
        out = self._to_channel(tissues)[..., 0]
        return torch.cat([part.flatten(1) for part in (scatterer, between, out)], dim=1)

    def _kept(self, state: Tensor) -> _Object:
        """One object of a state [n]."""
        energies, classes = self.arrival_kev.shape[:2]
        voxels, shape = self.coarse.voxels, self._seen.shape
        shapes = (
            (energies, classes, voxels),
            (energies, voxels, voxels),
            (shape[0], shape[1], voxels),
        )
        parts = state.split([math.prod(s) for s in shapes])
        return _Object(*(part.reshape(s) for part, s in zip(parts, shapes, strict=True)))

    # From activity to blocks.

    def forward(self, activity: Tensor, state: Tensor) -> Tensor:
        """First interactions a second [batch, block, g, k, map]; see ``ScatterTerm.forward``."""
        source = resample(checked_activity(activity, self.grid), self._source).flatten(2)
        objects = [self._kept(kept) for kept in state]
        return torch.stack([self._seen_of(*one) for one in zip(source, objects, strict=True)])

    def _seen_of(self, source: Tensor, kept: _Object) -> Tensor:
        """Blocks [block, g, k, map] that see a source [map, voxel]."""
        fluence = self._fluence(source, kept.between)
        seen = self._seen.to(source.dtype) * kept.out[:, :, None]
        parts = [
            self._collimated(self._turned(fluence[:, :, g], g, kept.scatterer[g]), g, seen)
            for g in range(len(self.energies_kev))
        ]
        return self._channels.by_block(torch.stack(parts, dim=2))

    def _fluence(self, source: Tensor, between: Tensor) -> Tensor:
        """Photons/mm2/s in each voxel times harmonics of direction, [voxel, lm, g, map]."""
        maps = source.shape[0]
        rows = []
        for voxels, flight in self._flights(source.dtype):
            sent = between[:, voxels].permute(1, 2, 0)[..., None] * source.T[:, None]
            rows.append(flight @ sent.flatten(2))
        fluence: Tensor = torch.cat(rows).unflatten(2, (-1, maps))
        return fluence

    def _turned(self, fluence: Tensor, g: int, scatterer: Tensor) -> Tensor:
        """Equivalent isotropic photons/s that voxels send to channels, [channel, voxel, k, map]."""
        heading = self._heading.to(fluence.dtype)
        by_degree = [heading[..., part] @ fluence[:, part] for part in self._degrees()]
        turned = torch.einsum("kl,lvcm->cvkm", self._turning[g].to(fluence.dtype), torch.stack(by_degree))
        sent: Tensor = turned * scatterer.T[..., None]
        return sent

    def _collimated(self, turned: Tensor, g: int, seen: Tensor) -> Tensor:
        """First interactions a second in the blocks of channels, [channel, block, k, map]."""
        total = turned.new_zeros(*seen.shape[1:3], *turned.shape[2:])
        for node, classes, weight in self._nodes(g, turned.dtype):
            part = (turned[:, :, classes] * weight[:, None]).flatten(2)
            arrived = (seen[node] @ part).unflatten(2, (len(classes), -1))
            total = total.index_add(2, classes, arrived)
        return total

    # The same way back.

    def adjoint(self, values: Tensor, state: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, block, g, k, map] to [batch, map, z, y, x]."""
        objects = [self._kept(kept) for kept in state]
        source = torch.stack([self._sent_back(*one) for one in zip(values, objects, strict=True)])
        return resample_back(source.unflatten(2, self.coarse.shape), self._source)

    def _sent_back(self, values: Tensor, kept: _Object) -> Tensor:
        """Transpose of :meth:`_seen_of`: [block, g, k, map] to [map, voxel]."""
        seen = self._seen.to(values.dtype) * kept.out[:, :, None]
        by_channel = values[self._channels.block]
        parts = [
            self._turned_back(self._uncollimated(by_channel[:, :, g], g, seen), g, kept.scatterer[g])
            for g in range(len(self.energies_kev))
        ]
        return self._source_of(torch.stack(parts, dim=2), kept.between)

    def _uncollimated(self, values: Tensor, g: int, seen: Tensor) -> Tensor:
        """Transpose of :meth:`_collimated`."""
        total = values.new_zeros(len(values), seen.shape[3], *values.shape[2:])
        for node, classes, weight in self._nodes(g, values.dtype):
            part = (values[:, :, classes] * weight[:, None]).flatten(2)
            back = (seen[node].mT @ part).unflatten(2, (len(classes), -1))
            total = total.index_add(2, classes, back)
        return total

    def _turned_back(self, turned: Tensor, g: int, scatterer: Tensor) -> Tensor:
        """Transpose of :meth:`_turned`: [voxel, lm, map]."""
        heading = self._heading.to(turned.dtype)
        back = torch.einsum(
            "kl,cvkm->lvcm", self._turning[g].to(turned.dtype), turned * scatterer.T[..., None]
        )
        return torch.cat([heading[..., p].mT @ b for p, b in zip(self._degrees(), back, strict=True)], dim=1)

    def _source_of(self, fluence: Tensor, between: Tensor) -> Tensor:
        """Transpose of :meth:`_fluence`: [voxel, lm, g, map] to [map, voxel]."""
        total = fluence.new_zeros(fluence.shape[3], self.coarse.voxels)
        for voxels, flight in self._flights(fluence.dtype):
            sent = (flight.mT @ fluence[voxels].flatten(2)).unflatten(2, fluence.shape[2:])
            total = total + torch.einsum("gsv,svgm->mv", between[:, voxels], sent)
        return total

    # Parts of both ways.

    def _flights(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """For each row of voxels, these and their part of the flight table, [voxel, lm, source]."""
        nz, ny, nx = self.coarse.shape
        windows = self._flight.to(dtype).unfold(1, nz, 1).unfold(2, ny, 1).unfold(3, nx, 1).flip(3)
        for row in range(nz * ny):
            z, y = divmod(row, ny)
            window = windows[:, nz - 1 - z, ny - 1 - y].movedim(0, 1).flatten(2)
            yield slice(row * nx, (row + 1) * nx), window

    def _degrees(self) -> list[slice]:
        """Harmonics of each degree l."""
        return [slice(degree**2, (degree + 1) ** 2) for degree in range(self._turning.shape[2])]

    def _nodes(self, g: int, dtype: torch.dtype) -> list[tuple[int, Tensor, Tensor]]:
        """Nodes of energy that group g needs: node, its classes and their weights."""
        parts = []
        for node, weight in enumerate(self._weight[g].T):
            classes = weight.nonzero()[:, 0]
            if len(classes):
                parts.append((node, classes, weight[classes].to(dtype)))
        return parts
