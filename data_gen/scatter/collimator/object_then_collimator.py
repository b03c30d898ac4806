"""Photons that the object scatters first and the collimator afterwards.

First interactions in blocks per second by class of arrival energy (keV), from the collimator's response
matrices at the reference energies. docs/physics.md, section 6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.autograd import recomputed
from data_gen.core.grid import VoxelGrid
from data_gen.materials.object_attenuation import tissue_attenuation
from data_gen.projector.energy_interpolation import interpolation_weights
from data_gen.scatter.differential_cross_sections import arrival_classes, scatterer_ratios, turning_series
from data_gen.scatter.energy_classes import PARTS, EnergyClasses
from data_gen.scatter.voxel_to_voxel import flight_table, path_by_tissue

CLASSES = 4
"""Classes of energy after Compton scatter in the object."""


class Scatterers(NamedTuple):
    """What this term computes once for an object."""

    rate: Tensor
    """Photons that a voxel scatters per fluence of emission at g, expressed as photons at each reference
    energy h, [g, h, voxel] mm2.
    """
    between: Tensor
    """Fluence in voxels per photon from others, [g, target, source] 1/mm2."""


class ScatterTowardsCollimator(nn.Module):
    """Sources at the reference energies that represent photons scattered once in an object.

    They emit isotropically, since the collimator is all around.

    Args:
        camera: its collimator's K edges separate the reference energies.
        grid: coarse voxels.
        energies_kev: energies of emission, and the reference energies [g].
    """

    def __init__(self, camera: Camera, grid: VoxelGrid, energies_kev: Tensor) -> None:
        super().__init__()
        self.grid = grid
        arrival = arrival_classes(energies_kev, CLASSES)
        scattered_kev = arrival.mean(dim=-1)
        share = interpolation_weights(camera, scattered_kev.flatten(), energies_kev)
        share = share.unflatten(0, arrival.shape[:2])
        # Photons scattered per fluence: 4 pi times mm3 per cm2/g/sr times g/cm3.
        volume = 0.1 * 1000.0 * grid.voxel_volume_ml
        turned = 4 * math.pi * volume * turning_series(energies_kev, arrival, 0)
        flight = _between_all(flight_table(grid, 0)[0], grid)
        self.energies_kev = nn.Buffer(energies_kev, persistent=False)
        self.scattered_kev = nn.Buffer(scattered_kev, persistent=False)
        self.share = nn.Buffer(share, persistent=False)
        self.turned = nn.Buffer(turned * share, persistent=False)
        self.flight = nn.Buffer(flight, persistent=False)
        self.ratios = nn.Buffer(scatterer_ratios(energies_kev, CLASSES), persistent=False)
        self.attenuation = nn.Buffer(tissue_attenuation(energies_kev), persistent=False)

    energies_kev: Tensor
    scattered_kev: Tensor
    """Mean energy of each class after the scatter, [g, k]."""
    share: Tensor
    """With how many photons each reference h stands for one of a class, [g, k, h]."""
    turned: Tensor
    """``share`` times the photons scattered into the class per fluence and density, mm2 cm3/g."""
    flight: Tensor
    """Fluence without attenuation from voxel to voxel, [target, source] 1/mm2."""
    ratios: Tensor
    """Cross section of each tissue over that of soft tissue, [tissue, g, k]."""
    attenuation: Tensor
    """Mass attenuation of each tissue, [tissue, g] in 1/mm per g/cm3."""

    def of(self, tissues: Tensor) -> Scatterers:
        """Scatterers of densities [batch, tissue, z, y, x] in g/cm3; all with the batch first."""
        path = recomputed(path_by_tissue, tissues, self.grid, needed=tissues.requires_grad)
        ratios, mu = self.ratios.to(tissues.dtype), self.attenuation.to(tissues.dtype)
        rate = torch.einsum("btv,tgk,gkh->bghv", tissues.flatten(2), ratios, self.turned.to(tissues.dtype))
        through = torch.exp(-torch.einsum("btsv,tg->bgsv", path, mu))
        return Scatterers(rate, through * self.flight.to(tissues.dtype))

    @staticmethod
    def sources(source: Tensor, kept: Scatterers) -> Tensor:
        """Photons/s [g, h, map, voxel] that represent the scattered photons of a source [map, voxel] of one
        photon per decay at each g.
        """
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


_NEVER = 1e-30
"""Photons so few that they count for none; keeps what is divided by above 0."""


class ObjectThenCollimator(nn.Module):
    """Blocks that see metal which scattered photons come to, by matrices of the reference energies.

    K lines are seen line by line. Compton photons are seen all together; their energies are those that the
    reference's photons have on average over voxels and blocks, shifted as much as the object's scatter does.

    Args:
        before: what the object scatters, g, to references h.
        arrivals: classes k of the energies in which photons arrive.
        matrix: first interactions per photon, [h, channel, block, k, voxel].
    """

    def __init__(self, before: ScatterTowardsCollimator, arrivals: EnergyClasses, matrix: Tensor) -> None:
        super().__init__()
        lines, compton = matrix.split((arrivals.own_lines, matrix.shape[3] - arrivals.own_lines), dim=3)
        kinds = torch.cat((lines, compton.sum(dim=3, keepdim=True)), dim=3)
        own = torch.eye(arrivals.own_lines, matrix.shape[3], dtype=torch.float64)
        shares = torch.nn.functional.pad(
            _compton_shares(before, arrivals, compton.sum(dim=(1, 2, 4), dtype=torch.float64)),
            (arrivals.own_lines, 0),
        )
        own = own.expand(*shares.shape[:2], -1, -1)
        self.matrix = nn.Buffer(kinds, persistent=False)
        self.classes = nn.Buffer(torch.cat((own, shares[:, :, None]), dim=2), persistent=False)
        for h, stands_for in enumerate(before.turned.sum(dim=1).T):
            self.register_buffer(f"fed_{h}", stands_for.nonzero()[:, 0], persistent=False)

    matrix: Tensor
    """Responses of K lines one by one and of all Compton photons together, [h, channel, block, kind, voxel].
    """
    classes: Tensor
    """Fraction of each kind in each class of arrival energies, [g, h, kind, k]."""

    @property
    def fed(self) -> list[Tensor]:
        """Energies of emission whose scattered photons each reference energy represents."""
        return [self.get_buffer(f"fed_{h}") for h in range(len(self.matrix))]

    def forward(self, scattered: Tensor, through: Tensor) -> Tensor:
        """First interactions [channel, block, g, k, map] of scattered photons [g, h, map, voxel], of which so
        many get through the object to each channel, [h, channel, voxel]."""
        seen = scattered.new_zeros(
            *self.matrix.shape[1:3], len(scattered), self.classes.shape[3], scattered.shape[2]
        )
        for h, g in enumerate(self.fed):
            come = through[h, :, None] * scattered[g, h][:, None]  # [g, c, m, v]
            kinds = torch.einsum("cblv,gcmv->cbglm", self.matrix[h].to(come.dtype), come)
            classes = self.classes[g, h].to(come.dtype)
            seen = seen.index_add(2, g, torch.einsum("cbglm,glk->cbgkm", kinds, classes))
        return seen

    def adjoint(self, values: Tensor, through: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [channel, block, g, k, map] to [g, h, map, voxel]."""
        energies, maps, voxels = values.shape[2], values.shape[4], through.shape[2]
        back = values.new_zeros(energies, energies, maps, voxels)
        for h, g in enumerate(self.fed):
            classes = self.classes[g, h].to(values.dtype)
            kinds = torch.einsum("cbgkm,glk->cbglm", values[:, :, g], classes)
            come = torch.einsum("cblv,cbglm->gcmv", self.matrix[h].to(values.dtype), kinds)
            back[g, h] = torch.einsum("cv,gcmv->gmv", through[h], come)
        return back


def _compton_shares(before: ScatterTowardsCollimator, arrivals: EnergyClasses, seen: Tensor) -> Tensor:
    """Scattered photons in each class of their own arrival energies, relative to all Compton photons at a
    reference energy, [g, h, Compton class].

    The collimator's total response is interpolated geometrically between reference energies.

    Args:
        before: scatter in the object.
        arrivals: energy classes of arrival.
        seen: Compton photons of each reference energy in its classes, [h, Compton class].
    """
    kev, filling = (part[:, arrivals.own_lines :] for part in (arrivals.kev, arrivals.filling))
    total = seen.sum(dim=1).clamp_min(_NEVER)
    even = torch.exp(before.share @ total.log()) / (before.share @ total)
    turned = before.turned.sum(dim=1).clamp_min(_NEVER)  # [g, h]
    rises = torch.einsum("gkh,gk->gh", before.turned, even) / turned
    inverse = torch.einsum("gkh,gk->gh", before.turned, 1 / before.scattered_kev) / turned
    place = (torch.arange(PARTS, dtype=torch.float64) + 0.5) / PARTS
    arrived = kev[..., :1] + (kev[..., 1:] - kev[..., :1]) * place  # [h, k, part]
    shift = 1 / arrived - 1 / before.energies_kev[:, None, None]
    again = 1 / (inverse[:, :, None, None] + shift).clamp_min(_NEVER)  # [g, h, k, part]
    portion = (seen / total[:, None])[..., None] * filling
    shares: Tensor = torch.zeros(*turned.shape, kev.shape[1], dtype=torch.float64)
    for g, lower in enumerate(kev[:, :-1, 0]):
        number = len(lower) - torch.bucketize(again[g], lower.flip(0))
        shares[g].scatter_add_(1, number.flatten(1), portion.flatten(1))
    shares *= rises[..., None]
    return shares
