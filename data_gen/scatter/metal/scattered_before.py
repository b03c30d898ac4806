"""Photons that the object scatters before they come to metal."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.mixing import photon_shares
from data_gen.projector.tissue import tissue_attenuation
from data_gen.recompute import recomputed
from data_gen.scatter.flight import flight_table, path_by_tissue
from data_gen.scatter.turning import arrival_classes, scatterer_ratios, turning_series

CLASSES = 4
"""Of the energies that Compton scatter leaves."""


class Scatterers(NamedTuple):
    """What is kept of an object."""

    rate: Tensor
    """Photons that a voxel scatters per fluence of emission at g, so many at each reference energy h as stand
    for them, [g, h, voxel] mm2."""
    between: Tensor
    """Fluence in voxels per photon from others, [g, target, source] 1/mm2."""


class BeforeMetal:
    """Sources at the reference energies that stand for photons scattered once in an object.

    They set out evenly in all directions: metal is all around.

    Args:
        camera: whose collimator's K edges references do not stand in for across.
        grid: coarse voxels.
        energies_kev: of emission, and the references [g].
    """

    def __init__(self, camera: Camera, grid: VoxelGrid, energies_kev: Tensor) -> None:
        self.grid, self.energies_kev = grid, energies_kev
        arrival = arrival_classes(energies_kev, CLASSES)
        self.scattered_kev = arrival.mean(dim=-1)
        share = photon_shares(camera, self.scattered_kev.flatten(), energies_kev)
        # Photons scattered per fluence: 4 pi times mm3 per cm2/g/sr times g/cm3.
        volume = 0.1 * 1000.0 * grid.voxel_volume_ml
        turned = 4 * math.pi * volume * turning_series(energies_kev, arrival, 0)
        self.share = share.unflatten(0, arrival.shape[:2])  # [g, k, h]
        self.turned = turned * self.share
        self.flight = _between_all(flight_table(grid, 0)[0], grid)

    def of(self, tissues: Tensor) -> Scatterers:
        """Of densities [batch, tissue, z, y, x] in g/cm3; all with the batch first."""
        path = recomputed(path_by_tissue, tissues, self.grid, needed=tissues.requires_grad)
        ratios = scatterer_ratios(self.energies_kev, CLASSES).to(tissues.dtype)
        rate = torch.einsum("btv,tgk,gkh->bghv", tissues.flatten(2), ratios, self.turned.to(tissues.dtype))
        mu = tissue_attenuation(self.energies_kev).to(tissues.dtype)
        through = torch.exp(-torch.einsum("btsv,tg->bgsv", path, mu))
        return Scatterers(rate, through * self.flight.to(tissues.dtype))

    @staticmethod
    def sources(source: Tensor, kept: Scatterers) -> Tensor:
        """Photons/s [g, h, map, voxel] that stand for those of a source [map, voxel] of one photon per decay
        at each g."""
        fluence = torch.einsum("gts,ms->gmt", kept.between, source)
        return kept.rate[:, :, None] * fluence[:, None]

    @staticmethod
    def source_of(values: Tensor, kept: Scatterers) -> Tensor:
        """Transpose of :meth:`sources`: [g, h, map, voxel] to [map, voxel]."""
        fluence = torch.einsum("ghv,ghmv->gmv", kept.rate, values)
        return torch.einsum("gts,gmt->ms", kept.between, fluence)


def _between_all(flight: Tensor, grid: VoxelGrid) -> Tensor:
    """Fluence without attenuation from the table by offsets, [target, source]."""
    place = torch.cartesian_prod(*(torch.arange(n) for n in grid.shape)).reshape(-1, 3)
    z, y, x = (place - place[:, None] + torch.tensor(grid.shape) - 1).unbind(dim=-1)
    return flight[z, y, x]
