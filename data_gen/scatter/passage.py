"""One scatter in the object: from sources to what is scattered, and to the blocks that see it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.grid import VoxelGrid


class Kept(NamedTuple):
    """What is kept of one object for one scatter."""

    scatterer: Tensor
    """Density in terms of soft tissue's cross section, [g, k, voxel] g/cm3."""
    between: Tensor
    """Transmission from voxel to voxel before scatter, [g, target, source]."""


@dataclass(frozen=True)
class Passage:
    """Photons of energies g from coarse voxels that are scattered once into classes k.

    Sources are [g, map, voxel] in photons/s. What voxels send is "equivalent": as many photons as a source
    would emit evenly that sends so many towards a channel.
    """

    grid: VoxelGrid
    flight: Tensor
    """From :func:`data_gen.scatter.flight.flight_table`, [lm, ...]."""
    heading: Tensor
    """Harmonics of the direction from voxels to channels, [voxel, channel, lm]."""
    turning: Tensor
    """Equivalent photons per fluence and density, as a Legendre series, [g, k, l] mm2 cm3/g."""
    weight: Tensor
    """What each energy node of the collimation counts for a class, [g, k, node]."""

    def fluence(self, source: Tensor, between: Tensor) -> Tensor:
        """Photons/mm2/s in each voxel times harmonics of direction, [voxel, lm, g, map]."""
        rows = []
        for voxels, flight in self._flights(source.dtype):
            sent = between[:, voxels].permute(1, 2, 0)[..., None] * source.permute(2, 0, 1)
            rows.append(flight @ sent.flatten(2))
        fluence: Tensor = torch.cat(rows).unflatten(2, (len(source), -1))
        return fluence

    def source_of(self, fluence: Tensor, between: Tensor) -> Tensor:
        """Transpose of :meth:`fluence`: [voxel, lm, g, map] to [g, map, voxel]."""
        total = fluence.new_zeros(*fluence.shape[2:], self.grid.voxels)
        for voxels, flight in self._flights(fluence.dtype):
            sent = (flight.mT @ fluence[voxels].flatten(2)).unflatten(2, fluence.shape[2:])
            total = total + torch.einsum("gsv,svgm->gmv", between[:, voxels], sent)
        return total

    def scattered(self, fluence: Tensor, scatterer: Tensor) -> Tensor:
        """Photons/s that voxels scatter by Compton scatter (all classes but the first), [g, map, voxel]."""
        rate = torch.einsum("gk,gkv->gv", self.turning[:, 1:, 0].to(fluence.dtype), scatterer[:, 1:])
        return torch.einsum("gv,vgm->gmv", rate, fluence[:, 0])

    def unscattered(self, values: Tensor, scatterer: Tensor) -> Tensor:
        """Transpose of :meth:`scattered`: [g, map, voxel] to [voxel, lm, g, map]."""
        rate = torch.einsum("gk,gkv->gv", self.turning[:, 1:, 0].to(values.dtype), scatterer[:, 1:])
        even = torch.einsum("gv,gmv->vgm", rate, values)
        rest = even.new_zeros(len(even), len(self.flight) - 1, *even.shape[1:])
        return torch.cat((even[:, None], rest), dim=1)

    def seen(self, fluence: Tensor, scatterer: Tensor, collimation: Tensor) -> Tensor:
        """First interactions/s in the blocks of channels, [channel, block, g, k, map].

        ``collimation`` is [node, channel, block, voxel], with the object's attenuation.
        """
        parts = [
            self._collimated(self._turned(fluence[:, :, g], g, scatterer[g]), g, collimation)
            for g in range(len(self.turning))
        ]
        return torch.stack(parts, dim=2)

    def unseen(self, values: Tensor, scatterer: Tensor, collimation: Tensor) -> Tensor:
        """Transpose of :meth:`seen`: [channel, block, g, k, map] to [voxel, lm, g, map]."""
        parts = [
            self._turned_back(self._uncollimated(values[:, :, g], g, collimation), g, scatterer[g])
            for g in range(len(self.turning))
        ]
        return torch.stack(parts, dim=2)

    def _turned(self, fluence: Tensor, g: int, scatterer: Tensor) -> Tensor:
        """Equivalent photons/s that voxels send to channels, [channel, voxel, k, map]."""
        heading = self.heading.to(fluence.dtype)
        by_degree = [heading[..., part] @ fluence[:, part] for part in self._degrees()]
        turned = torch.einsum("kl,lvcm->cvkm", self.turning[g].to(fluence.dtype), torch.stack(by_degree))
        sent: Tensor = turned * scatterer.T[..., None]
        return sent

    def _turned_back(self, turned: Tensor, g: int, scatterer: Tensor) -> Tensor:
        """Transpose of :meth:`_turned`: [voxel, lm, map]."""
        heading = self.heading.to(turned.dtype)
        back = torch.einsum(
            "kl,cvkm->lvcm", self.turning[g].to(turned.dtype), turned * scatterer.T[..., None]
        )
        return torch.cat([heading[..., p].mT @ b for p, b in zip(self._degrees(), back, strict=True)], dim=1)

    def _collimated(self, turned: Tensor, g: int, collimation: Tensor) -> Tensor:
        """First interactions/s in the blocks of channels, [channel, block, k, map]."""
        total = turned.new_zeros(*collimation.shape[1:3], *turned.shape[2:])
        for node, classes, weight in self._nodes(g, turned.dtype):
            part = (turned[:, :, classes] * weight[:, None]).flatten(2)
            total = total.index_add(2, classes, (collimation[node] @ part).unflatten(2, (len(classes), -1)))
        return total

    def _uncollimated(self, values: Tensor, g: int, collimation: Tensor) -> Tensor:
        """Transpose of :meth:`_collimated`."""
        total = values.new_zeros(len(values), collimation.shape[3], *values.shape[2:])
        for node, classes, weight in self._nodes(g, values.dtype):
            part = (values[:, :, classes] * weight[:, None]).flatten(2)
            back = (collimation[node].mT @ part).unflatten(2, (len(classes), -1))
            total = total.index_add(2, classes, back)
        return total

    def _flights(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """For each row of voxels, these and their part of the flight table, [voxel, lm, source]."""
        nz, ny, nx = self.grid.shape
        windows = self.flight.to(dtype).unfold(1, nz, 1).unfold(2, ny, 1).unfold(3, nx, 1).flip(3)
        for row in range(nz * ny):
            z, y = divmod(row, ny)
            window = windows[:, nz - 1 - z, ny - 1 - y].movedim(0, 1).flatten(2)
            yield slice(row * nx, (row + 1) * nx), window

    def _degrees(self) -> list[slice]:
        """Harmonics of each degree l."""
        return [slice(degree**2, (degree + 1) ** 2) for degree in range(math.isqrt(len(self.flight)))]

    def _nodes(self, g: int, dtype: torch.dtype) -> list[tuple[int, Tensor, Tensor]]:
        """Nodes of energy that energy g needs: node, its classes and their weights."""
        parts = []
        for node, weight in enumerate(self.weight[g].T):
            classes = weight.nonzero()[:, 0]
            if len(classes):
                parts.append((node, classes, weight[classes].to(dtype)))
        return parts
