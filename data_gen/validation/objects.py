"""Objects in front of a camera for comparisons with the Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms import MousePhantom

SCENES = ("point", "off_axis", "cylinder", "mouse")

_UPTAKE = {
    "soft_tissue": (1.0, 1.0),
    "liver": (5.0, 5.0),
    "kidneys": (10.0, 10.0),
    "bone": (4.0, 4.0),
    "tumour": (12.0, 12.0),
}
"""Percent of the injected activity per gram, [lowest, highest] of each range; chosen, no source. Without
spread, and with :data:`MOUSE_SEED`, it is always the same mouse."""

MOUSE_SEED = 7
"""Seed of the mouse's organs and tumours; chosen."""


@dataclass(frozen=True)
class Scene:
    """An object of 1 Bq in all: activity [z, y, x] in Bq per voxel, density [z, y, x] in g/cm3."""

    name: str
    grid: VoxelGrid
    activity: Tensor
    density: Tensor

    @property
    def is_air(self) -> bool:
        """Whether nothing attenuates or scatters."""
        return not bool((self.density > 0).any())


def scene(name: str, spacing_mm: float = 1.0) -> Scene:
    """A scene by name, in a cube of 28 mm about the isocentre.

    ``point`` lies at the isocentre and ``off_axis`` at (x, y, z) = (6, 3, 4) mm, both in vacuum: Gaussians of
    1 mm sigma, so that it hardly matters how voxels are read between their centres. ``cylinder`` is 24 mm in
    diameter and length about the z axis, evenly warm, of 1 g/cm3, which
    :func:`data_gen.materials.tissue_from_density` takes for soft tissue. ``mouse`` is one mouse with
    tumours, of fixed seed and uptakes.

    Args:
        name: name of the scene.
        spacing_mm: edge of the voxels.

    Raises:
        UserError: an unknown name.
    """
    grid = VoxelGrid([round(28.0 / spacing_mm)] * 3, spacing_mm)
    if name in ("point", "off_axis"):
        middle = torch.tensor((0.0, 0.0, 0.0) if name == "point" else (6.0, 3.0, 4.0), dtype=torch.float64)
        activity = torch.exp(-(grid.centres_mm() - middle).square().sum(-1) / 2)
        return Scene(name, grid, activity / activity.sum(), torch.zeros_like(activity))
    if name == "cylinder":
        place = grid.centres_mm()
        inside = (place[..., :2].norm(dim=-1) < 12) & (place[..., 2].abs() < 12)
        activity = inside / inside.sum(dtype=torch.float64)
        return Scene(name, grid, activity, 1.0 * inside.double())
    if name == "mouse":
        phantom = MousePhantom(_UPTAKE)(grid, torch.Generator().manual_seed(MOUSE_SEED))
        uptake = phantom.uptake.double()
        return Scene(name, grid, uptake / uptake.sum(), phantom.density.double())
    raise UserError(f"scene is {name!r}; it needs to be one of {list(SCENES)}")
