"""One scatter in the object: from sources to scattered photons, and to the blocks of pixels that detect them.

Fluence in photons/mm2/s by voxel and spherical harmonic; first interactions per s by block and energy class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_gen.core.grid import VoxelGrid

MOST_KEPT_BYTES = 2**26
"""Memory that the parts of the fluence table may take, which else are made anew for each use."""


class Kept(NamedTuple):
    """What one scatter needs of an object; of several, batch first."""

    scatterer: Tensor
    """Density in terms of soft tissue's cross section, [g, k, voxel] g/cm3."""
    between: Tensor
    """Transmission from voxel to voxel before scatter, [g, target, source]."""


class Seen(NamedTuple):
    """Detection of photons from voxels by the blocks of channels, at the energy nodes."""

    matrix: Tensor
    """First interactions per photon in air, [node, channel, block, voxel]."""
    through: Tensor
    """Transmission of the object from voxels to channels, [node, channel, voxel]."""

    @property
    def blocks(self) -> int:
        """Blocks of each channel."""
        return self.matrix.shape[2]


class SingleScatter(nn.Module):
    """Photons of energies g from coarse voxels that scatter once into classes k.

    Sources are [g, map, voxel] in photons/s. Scattered photons are given as equivalent isotropic emission:
    the isotropic source that would emit as many photons towards a channel.

    Args:
        grid: coarse voxels.
        flight: from :func:`data_gen.scatter.voxel_to_voxel.flight_table`, [lm, ...].
        heading: harmonics of the direction from voxels to channels, [voxel, channel, lm].
        turning: equivalent photons per fluence and density, as a Legendre series, [g, k, l] mm2 cm3/g.
        weight: weight of each energy node of the collimation for a class, [g, k, node].
        scatterer_ratios: cross section of each tissue over that of soft tissue, [tissue, g, k].
        attenuation: of each tissue before scatter, per density, [tissue, g] in 1/mm per g/cm3.
    """

    def __init__(
        self,
        grid: VoxelGrid,
        flight: Tensor,
        heading: Tensor,
        turning: Tensor,
        weight: Tensor,
        scatterer_ratios: Tensor,
        attenuation: Tensor,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.flight = nn.Buffer(flight, persistent=False)
        self.heading = nn.Buffer(heading, persistent=False)
        self.turning = nn.Buffer(turning, persistent=False)
        self.weight = nn.Buffer(weight, persistent=False)
        self.scatterer_ratios = nn.Buffer(scatterer_ratios, persistent=False)
        self.attenuation = nn.Buffer(attenuation, persistent=False)
        degree = torch.arange(len(flight)).sqrt().floor().to(torch.int64)
        self.degree = nn.Buffer(degree, persistent=False)
        self.register_buffer("_kept_flights", None, persistent=False)

    flight: Tensor
    heading: Tensor
    turning: Tensor
    weight: Tensor
    scatterer_ratios: Tensor
    attenuation: Tensor
    degree: Tensor
    """Degree l of each harmonic, [lm]."""
    _kept_flights: Tensor | None

    def of(self, tissues: Tensor, path: Tensor) -> Kept:
        """What is kept of objects, batch first.

        Args:
            tissues: density by tissue, [batch, tissue, z, y, x] in g/cm3.
            path: from :func:`data_gen.scatter.voxel_to_voxel.path_by_tissue`.
        """
        ratios, mu = self.scatterer_ratios.to(tissues.dtype), self.attenuation.to(tissues.dtype)
        scatterer = torch.einsum("btv,tgk->bgkv", tissues.flatten(2), ratios)
        return Kept(scatterer, torch.exp(-torch.einsum("btsv,tg->bgsv", path, mu)))

    def fluence(self, source: Tensor, between: Tensor, most: int | None = None) -> Tensor:
        """Photons/mm2/s in each voxel times harmonics of direction, ``most`` or all, [voxel, lm, g, map]."""
        rows = []
        for voxels, flight in self._flights(source.dtype):
            sent = between[:, voxels].movedim(1, 0)[:, :, None] * source
            rows.append(sent.flatten(1, 2) @ flight[..., :most])
        fluence: Tensor = torch.cat(rows).mT.unflatten(2, (len(source), -1))
        return fluence

    def source_of(self, fluence: Tensor, between: Tensor) -> Tensor:
        """Transpose of :meth:`fluence`: [voxel, lm, g, map] to [g, map, voxel]."""
        total = fluence.new_zeros(*fluence.shape[2:], self.grid.voxels)
        for voxels, flight in self._flights(fluence.dtype):
            back = fluence[voxels].flatten(2).mT @ flight[..., : fluence.shape[1]].mT
            sent = back.unflatten(1, fluence.shape[2:])
            total = total + (between[:, voxels].movedim(1, 0)[:, :, None] * sent).sum(dim=0)
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

    def scattering(self, source: Tensor, here: Kept) -> Tensor:
        """Photons/s that voxels scatter of a source, both [g, map, voxel]."""
        return self.scattered(self.fluence(source, here.between, most=1), here.scatterer)

    def scattering_back(self, values: Tensor, here: Kept) -> Tensor:
        """Transpose of :meth:`scattering`."""
        return self.source_of(self.unscattered(values, here.scatterer)[:, :1], here.between)

    def seen(self, fluence: Tensor, here: Kept, channels: Seen) -> Tensor:
        """First interactions/s in the blocks of channels, [channel, block, g, k, map]."""
        groups, classes = self.turning.shape[:2]
        turned = self._turned(fluence, here.scatterer)
        total = turned.new_zeros(len(turned), groups * classes, fluence.shape[3], channels.blocks)
        for node, column, weight in self._nodes(turned.dtype):
            sent = turned[:, column] * channels.through[node][:, None, None]
            part = (sent.flatten(1, 2) @ channels.matrix[node].mT).unflatten(1, sent.shape[1:3])
            total = total.index_add(1, column, weight * part)
        seen: Tensor = total.unflatten(1, (groups, classes)).movedim(4, 1)
        return seen

    def unseen(self, values: Tensor, here: Kept, channels: Seen) -> Tensor:
        """Transpose of :meth:`seen`: [channel, block, g, k, map] to [voxel, lm, g, map]."""
        by_column = values.flatten(2, 3).movedim(1, 3)
        turned = values.new_zeros(*by_column.shape[:3], self.grid.voxels)
        for node, column, weight in self._nodes(values.dtype):
            part = weight * by_column[:, column]
            sent = (part.flatten(1, 2) @ channels.matrix[node]).unflatten(1, part.shape[1:3])
            turned = turned.index_add(1, column, sent * channels.through[node][:, None, None])
        return self._turned_back(turned, here.scatterer)

    def _turned(self, fluence: Tensor, scatterer: Tensor) -> Tensor:
        """Equivalent photons/s that voxels scatter towards channels, [channel, g * k, map, voxel]."""
        by_class = fluence[:, :, :, None] * self._by_harmonic(fluence.dtype)[..., None]
        turned = self.heading.to(fluence.dtype) @ by_class.flatten(2)
        turned = turned.permute(1, 2, 0).contiguous().unflatten(1, (-1, fluence.shape[3]))
        sent: Tensor = turned * scatterer.flatten(0, 1)[:, None]
        return sent

    def _turned_back(self, turned: Tensor, scatterer: Tensor) -> Tensor:
        """Transpose of :meth:`_turned`: [voxel, lm, g, map]."""
        groups, classes = self.turning.shape[:2]
        back = (turned * scatterer.flatten(0, 1)[:, None]).flatten(1, 2).permute(2, 0, 1).contiguous()
        by_class = (self.heading.to(turned.dtype).mT @ back).unflatten(2, (groups, classes, -1))
        fluence: Tensor = (by_class * self._by_harmonic(turned.dtype)[..., None]).sum(dim=3)
        return fluence

    def _by_harmonic(self, dtype: torch.dtype) -> Tensor:
        """:attr:`turning` for each harmonic, [lm, g, k]."""
        return self.turning.to(dtype)[..., self.degree].movedim(2, 0)

    def _flights(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """For each row of voxels, its slice and its part of the fluence table, [voxel, source, lm]."""
        nz, ny, nx = self.grid.shape
        flight = self.flight.to(dtype)
        kept = self._kept_flights
        if kept is None or kept.dtype != dtype or kept.device != flight.device:
            windows = flight.unfold(1, nz, 1).unfold(2, ny, 1).unfold(3, nx, 1).flip(3)
            rows = (windows[:, nz - 1 - row // ny, ny - 1 - row % ny] for row in range(nz * ny))
            by_row = (window.movedim(0, -1).flatten(1, 3) for window in rows)
            if self.grid.voxels**2 * flight[:, 0, 0, 0].nbytes > MOST_KEPT_BYTES:
                yield from ((slice(row * nx, (row + 1) * nx), part) for row, part in enumerate(by_row))
                return
            # What is kept in inference mode may be wanted for a gradient later.
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept_flights = torch.stack(list(by_row))
        for row, part in enumerate(kept):
            yield slice(row * nx, (row + 1) * nx), part

    def _nodes(self, dtype: torch.dtype) -> list[tuple[int, Tensor, Tensor]]:
        """For each energy node: its index, the classes g * k that use it, and their weights [class, 1, 1]."""
        parts = []
        for node, weight in enumerate(self.weight.flatten(0, 1).T):
            column = weight.nonzero()[:, 0]
            if len(column):
                parts.append((node, column, weight[column, None, None].to(dtype)))
        return parts
