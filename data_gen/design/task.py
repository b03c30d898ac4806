"""The estimation task that a camera is designed for: uptakes of regions in every activity map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from data_gen.core.errors import UserError


@dataclass(frozen=True, eq=False)
class RegionalTask:
    """Uptakes to be estimated together: one for each region and map, the distribution within a region known.

    Args:
        regions: names, [region].
        maps: names of the forward model's activity maps, [map].
        shape: fraction of a region's activity in each voxel, [region, z, y, x]; each sums to 1.
        activity_bq: activity of each region and map, [region, map].
        density: density of the object, [z, y, x] in g/cm3.
        duration_s: duration of the scan.
        wanted: the region whose uptakes are to be estimated precisely; all others are nuisances.
    """

    regions: tuple[str, ...]
    maps: tuple[str, ...]
    shape: Tensor
    activity_bq: Tensor
    density: Tensor
    duration_s: float
    wanted: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the uptakes, such as "tumour/Ac-225", by region and map."""
        return tuple(f"{region}/{name}" for region in self.regions for name in self.maps)

    @property
    def wanted_parts(self) -> slice:
        """Places of the wanted uptakes among :attr:`parts`."""
        first = self.regions.index(self.wanted) * len(self.maps)
        return slice(first, first + len(self.maps))

    def against_rest(self) -> RegionalTask:
        """The coarser task of the wanted region against all others as one, distributed as their sum."""
        wanted = self.regions.index(self.wanted)
        if len(self.regions) == 1:
            return self
        others = torch.arange(len(self.regions)) != wanted
        by_region = self.activity_bq[others]
        rest = torch.tensordot(by_region.sum(1).to(self.shape.dtype), self.shape[others], dims=1)
        return replace(
            self,
            regions=(self.wanted, "rest"),
            shape=torch.stack((self.shape[wanted], rest / rest.sum())),
            activity_bq=torch.stack((self.activity_bq[wanted], by_region.sum(0))),
        )


def regional_task(
    activity: Tensor,
    maps: tuple[str, ...],
    masks: Mapping[str, Tensor],
    density: Tensor,
    duration_s: float,
    wanted: str,
) -> RegionalTask:
    """The task of some regions; what is in none of them is a region called "rest".

    Within a region all maps are distributed as their sum, smoothed by a voxel: edges as sharp as
    voxels would need many rays. Regions without activity are left out.

    Args:
        activity: [map, z, y, x] in Bq per voxel.
        maps: names of the activity maps.
        masks: voxels [z, y, x] of each region; a voxel belongs to the first that contains it.
        density: [z, y, x] in g/cm3.
        duration_s: duration of the scan.
        wanted: the region to be estimated precisely.

    Raises:
        UserError: the wanted region has no activity, or a map has none at all.
    """
    free = torch.ones_like(density, dtype=torch.bool)
    held: dict[str, Tensor] = {}
    for name, mask in masks.items():
        held[name] = activity * (mask & free)
        free = free & ~mask
    held["rest"] = activity * free
    found = {name: part for name, part in held.items() if float(part.sum()) > 0}
    if wanted not in found:
        raise UserError(f"the region {wanted!r} has no activity; it needs one of {', '.join(found)}")
    activity_bq = torch.stack([part.sum(dim=(1, 2, 3)) for part in found.values()])
    if not bool((activity_bq > 0).all()):
        raise UserError(
            f"a region of {', '.join(found)} lacks one of {', '.join(maps)}; each needs all of them"
        )
    total = torch.stack([part.sum(0) for part in found.values()])
    shape = _smoothed(total)
    shape = shape / shape.sum(dim=(1, 2, 3), keepdim=True)
    return RegionalTask(tuple(found), maps, shape, activity_bq, density, duration_s, wanted)


def _smoothed(maps: Tensor) -> Tensor:
    """Maps [k, z, y, x] smoothed with weights 1, 2, 1 along each axis."""
    for axis in (1, 2, 3):
        size = maps.shape[axis]
        padded = torch.cat((maps.narrow(axis, 0, 1), maps, maps.narrow(axis, size - 1, 1)), dim=axis)
        maps = (padded.narrow(axis, 0, size) + 2 * maps + padded.narrow(axis, 2, size)) / 4
    return maps


def surroundings(mask: Tensor, name: str) -> dict[str, Tensor]:
    """The voxels around a region, in four quarters about its centre across the ring's axis, by name."""
    shell = (max_pool3d(mask[None].float(), 3, stride=1, padding=1)[0] > 0) & ~mask
    _, y, x = (torch.arange(n) for n in mask.shape)
    _, cy, cx = mask.nonzero().float().mean(dim=0)
    above, right = (y >= cy)[None, :, None], (x >= cx)[None, None, :]
    return {
        f"{name}_{2 * j + i}": shell & (above == bool(j)) & (right == bool(i))
        for j in range(2)
        for i in range(2)
    }
