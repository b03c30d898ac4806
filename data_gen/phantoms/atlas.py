"""Phantoms from a NIfTI label map, such as the Digimouse atlas (Dogdas et al., Phys. Med. Biol. 52 (2007)
577).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.files import sha256_of
from data_gen.core.foreign_files import check_volume
from data_gen.core.grid import VoxelGrid
from data_gen.core.random import checked_range, log_uniform, uniform
from data_gen.phantoms.biodistribution import checked_organ
from data_gen.phantoms.phantom import Phantom
from data_gen.phantoms.voxelise import OUTSIDE, Tissue, fine_axis_mm, phantom_of


@dataclass(frozen=True)
class AtlasPhantom:
    """A label map of fixed anatomy with uptakes drawn for each individual.

    Args:
        path: NIfTI file of whole-numbered labels, 0 outside; its voxel edges are read from its header and
            taken as mm.
        labels: label to ``organ``, ``density_g_cm3``, ``uptake_percent_per_g`` [lowest, highest] and,
            where freed progeny goes there, ``freed_per_g`` [lowest, highest] (relative).
        axes: the file's axes, counted from 1, that become z, y and x; negative ones are turned round.
        centre_mm: where the middle of the grid lies, from the middle of the atlas along (z, y, x).
        freed_fraction: share of the progeny that leaves at each generation of groups, [lowest, highest].
        body_mass_g: mass of the animal; None takes what is in view.
        sha256: of the file's content, which a data set records; None: whatever it is now.

    Raises:
        UserError: the file is missing or not that of ``sha256``, or a label is missing or wrong.
    """

    path: str
    labels: Mapping[int, Mapping[str, Any]]
    axes: Sequence[int] = (3, 2, 1)
    centre_mm: Sequence[float] = (0.0, 0.0, 0.0)
    freed_fraction: Sequence[float] = (0.0, 0.0)
    body_mass_g: float | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise UserError(f"phantom.path is {self.path}; there is no such file, it needs a NIfTI label map")
        found = sha256_of(Path(self.path))
        if self.sha256 not in (None, found):
            raise UserError(
                f"phantom.path is {self.path}, whose content is not that of phantom.sha256; "
                "it needs the file that the data set was made from"
            )
        object.__setattr__(self, "sha256", found)
        if sorted(abs(int(a)) for a in self.axes) != [1, 2, 3]:
            raise UserError(
                f"phantom.axes is {list(self.axes)}; it needs 1, 2 and 3 in some order, with signs"
            )
        table = {int(label): _checked_entry(f"phantom.labels.{label}", e) for label, e in self.labels.items()}
        if not all(1 <= label <= 255 for label in table):
            raise UserError(f"phantom.labels has the labels {sorted(table)}; they need to be from 1 to 255")
        object.__setattr__(self, "labels", table)
        object.__setattr__(self, "axes", tuple(int(a) for a in self.axes))
        object.__setattr__(self, "centre_mm", tuple(float(c) for c in self.centre_mm))
        span = checked_range("phantom.freed_fraction", self.freed_fraction, most=1.0)
        object.__setattr__(self, "freed_fraction", span)

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> Phantom:
        """The atlas on this grid with uptakes drawn."""
        fine = self._fine_labels(grid)
        present = sorted(int(label) for label in torch.unique(fine) if label != 0)
        unknown = [label for label in present if label not in self.labels]
        if unknown:
            raise UserError(
                f"phantom.labels lacks label {unknown[0]} of {self.path}; known are {list(self.labels)}"
            )
        tissues = [OUTSIDE, *(_tissue(self.labels[label], generator) for label in sorted(self.labels))]
        number = torch.zeros(256, dtype=torch.uint8)
        number[sorted(self.labels)] = torch.arange(1, len(tissues), dtype=torch.uint8)
        low, high = self.freed_fraction
        return phantom_of(
            number[fine.int()], tissues, grid, uniform((low, high), generator), self.body_mass_g
        )

    def _fine_labels(self, grid: VoxelGrid) -> Tensor:
        """Labels at fine voxels no coarser than the atlas, [Z, Y, X] uint8; 0 beyond the atlas."""
        atlas, spacing = _load(self.path, tuple(self.axes))
        supersampling = max(math.ceil(g / s - 1e-6) for g, s in zip(grid.spacing_mm, spacing, strict=True))
        picked, inside = [], []
        for axis in range(3):
            mm = fine_axis_mm(grid, axis, supersampling).double() + self.centre_mm[axis]
            index = torch.round(mm / spacing[axis] + (atlas.shape[axis] - 1) / 2).long()
            inside.append((index >= 0) & (index < atlas.shape[axis]))
            picked.append(index.clamp(0, atlas.shape[axis] - 1))
        fine = atlas[picked[0]][:, picked[1]][:, :, picked[2]]
        return fine * (inside[0][:, None, None] & inside[1][:, None] & inside[2])


def _checked_entry(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The plain data of one label."""
    wrong = set(entry) - {"organ", "density_g_cm3", "uptake_percent_per_g", "freed_per_g"}
    if wrong or not {"organ", "density_g_cm3"} <= set(entry):
        raise UserError(
            f"{key} has {sorted(entry)}; it needs organ and density_g_cm3, "
            "and may hold uptake_percent_per_g and freed_per_g"
        )
    return {
        "organ": checked_organ(f"{key}.organ", str(entry["organ"])),
        "density_g_cm3": float(entry["density_g_cm3"]),
        **{
            name: checked_range(f"{key}.{name}", entry.get(name, (0.0, 0.0)))
            for name in ("uptake_percent_per_g", "freed_per_g")
        },
    }


def _tissue(entry: Mapping[str, Any], generator: torch.Generator) -> Tissue:
    """What fills one label in one individual."""
    density = entry["density_g_cm3"]
    uptake = log_uniform(entry["uptake_percent_per_g"], generator) / 100 * density
    return Tissue(entry["organ"], density, uptake, log_uniform(entry["freed_per_g"], generator) * density)


def _load(path: str, axes: tuple[int, ...]) -> tuple[Tensor, tuple[float, ...]]:
    """Labels [z, y, x] uint8 and voxel edges along them in mm."""
    from nibabel.nifti1 import Nifti1Image

    try:
        image = Nifti1Image.from_filename(path)
        check_volume(image, Path(path))
        labels = np.asarray(image.dataobj)
        edges = image.header["pixdim"][1:4]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read as a NIfTI label map ({error})") from error
    if labels.ndim != 3 or labels.min() < 0 or labels.max() > 255 or (labels % 1 != 0).any():
        raise UserError(
            f"{path} needs a 3D map of whole-numbered labels from 0 to 255; it has {labels.shape}"
        )
    order = [abs(a) - 1 for a in axes]
    turned = tuple(k for k, a in enumerate(axes) if a < 0)
    moved = np.flip(labels.transpose(order), turned).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(moved)), tuple(float(edges[k]) for k in order)
