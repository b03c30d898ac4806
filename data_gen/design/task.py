"""What a camera is designed for: uptakes in regions, each of one activity map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.errors import UserError


@dataclass(frozen=True, eq=False)
class RegionalTask:
    """Parts of an object whose uptakes are to be estimated together.

    Args:
        names: of the parts, such as "tumour/Ac-225", [k].
        map_index: activity map of the forward model that each part belongs to, [k].
        activity: of each part, [k, z, y, x] in Bq per voxel.
        density: of the object, [z, y, x] in g/cm3.
        duration_s: of the scan.
        wanted: names whose deviations the design is to make small; the others are nuisances.

    Raises:
        UserError: a part has no activity, or a wanted name is no part.
    """

    names: tuple[str, ...]
    map_index: tuple[int, ...]
    activity: Tensor
    density: Tensor
    duration_s: float
    wanted: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, activity in zip(self.names, self.activity, strict=True):
            if not float(activity.sum()) > 0:
                raise UserError(f"part {name} of the task has no activity; each needs some")
        for name in self.wanted:
            if name not in self.names:
                raise UserError(f"the task wants {name!r}; it needs one of {', '.join(self.names)}")

    @property
    def wanted_index(self) -> Tensor:
        """Places of the wanted parts, [wanted] int64."""
        return torch.tensor([self.names.index(name) for name in self.wanted])


def regional_task(
    activity: Tensor,
    map_names: Sequence[str],
    regions: Mapping[str, Tensor],
    density: Tensor,
    duration_s: float,
    wanted_region: str,
) -> RegionalTask:
    """One part for every region and map; what no region holds is a region called "rest".

    Args:
        activity: [map, z, y, x] in Bq per voxel.
        map_names: of the maps.
        regions: name to mask [z, y, x]; masks do not overlap.
        density: [z, y, x] in g/cm3.
        duration_s: of the scan.
        wanted_region: all its maps are wanted.

    Raises:
        UserError: a region has no activity, or the wanted one is not there.
    """
    rest = ~torch.stack(tuple(regions.values())).any(dim=0)
    masks = {**regions, "rest": rest}
    if wanted_region not in masks:
        raise UserError(f"the task wants the region {wanted_region!r}; it needs one of {', '.join(masks)}")
    keys = [(region, index) for region in masks for index in range(len(map_names))]
    names = tuple(f"{region}/{map_names[index]}" for region, index in keys)
    return RegionalTask(
        names=names,
        map_index=tuple(index for _, index in keys),
        activity=torch.stack([activity[index] * masks[region] for region, index in keys]),
        density=density,
        duration_s=duration_s,
        wanted=tuple(f"{wanted_region}/{name}" for name in map_names),
    )
