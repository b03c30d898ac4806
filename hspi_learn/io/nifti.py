"""Volumes as NIfTI files, in mm, origin at the isocentre."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from data_gen.core.errors import UserError
from data_gen.core.files import whole_file
from data_gen.core.foreign_files import check_volume
from data_gen.core.grid import VoxelGrid
from data_gen.phantoms import ORGANS

SUFFIXES = (".nii.gz", ".nii")
_COMMENT = 6
"""Code of a NIfTI-1 header extension that holds plain text."""


def grid_affine(grid: VoxelGrid) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Voxel (i, j, k) along (x, y, z) to mm in the camera's frame, [4, 4]."""
    steps, sizes = np.array(grid.spacing_mm[::-1]), np.array(grid.shape[::-1])
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -(sizes - 1) / 2 * steps
    return affine


def write_activity(path: Path, activity: Tensor, grid: VoxelGrid, maps: Sequence[Sequence[str]]) -> Path:
    """Write activity maps in Bq/mL, whole or not at all.

    The file is [x, y, z] for one map and [x, y, z, map] for several; a JSON comment in the header says
    which nuclide each map holds.

    Args:
        path: ends with .nii or .nii.gz.
        activity: [map, z, y, x] in Bq per voxel.
        grid: voxel grid of the volume.
        maps: members of each map, the one whose activity is written first.

    Raises:
        UserError: another suffix.
    """
    suffix = checked_suffix(path)
    volume = (activity.detach().cpu() / grid.voxel_volume_ml).float().permute(3, 2, 1, 0).numpy()
    image = nibabel.Nifti1Image(volume[..., 0] if len(maps) == 1 else volume, grid_affine(grid))
    image.header.set_xyzt_units("mm")
    image.set_sform(grid_affine(grid), code="scanner")
    image.set_qform(grid_affine(grid), code="scanner")
    image.header["descrip"] = b"activity concentration in Bq/mL"
    about = {"unit": "Bq/mL", "maps": [{"nuclide": tied[0], "with": list(tied[1:])} for tied in maps]}
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, json.dumps(about).encode()))
    content = image.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        # Without a time in it, the same image gives the same file.
        part.write_bytes(gzip.compress(content, mtime=0) if suffix == ".nii.gz" else content)
    return path


def checked_suffix(path: Path) -> str:
    """The NIfTI suffix of a path.

    Raises:
        UserError: it has none.
    """
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise UserError(f"output is {path}; it needs a name that ends with .nii.gz or .nii")


def read_density(path: Path, grid: VoxelGrid) -> Tensor:
    """Density on the grid in g/cm3, [z, y, x] float32, interpolated linearly; air beyond the file.

    Raises:
        UserError: the file is no NIfTI volume, or holds NaN, infinite or negative densities.
    """
    values, affine = _volume(path, "density")
    return resampled(torch.from_numpy(checked_density(values, path)), torch.from_numpy(affine), grid)


def read_outlines(path: Path, grid: VoxelGrid) -> Tensor:
    """Number of the organ of each voxel of the grid, [z, y, x] int64.

    Raises:
        UserError: the file is no NIfTI volume, has another grid, or holds what is no number of an organ.
    """
    values, affine = _volume(path, "outlines")
    if values.shape != tuple(grid.shape[::-1]) or not np.allclose(affine, grid_affine(grid), atol=1e-3):
        raise UserError(
            f"outlines {path} have the grid {values.shape}; they need that of the image, "
            f"{tuple(grid.shape[::-1])} voxels of {grid.spacing_mm} mm about the isocentre"
        )
    whole = np.isfinite(values).all() and (values == np.round(values)).all()
    if not whole or values.min() < 0 or values.max() >= len(ORGANS):
        raise UserError(f"outlines {path} hold other values than organs, which are 0 to {len(ORGANS) - 1}")
    return torch.from_numpy(values).long().permute(2, 1, 0).contiguous()


def _volume(path: Path, key: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Values [x, y, z] float32 and affine of a NIfTI volume that a key of a config names."""
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{key} is {path}; it needs a name that ends with .nii.gz or .nii")
    try:
        image: Any = nibabel.load(path)
        check_volume(image, path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(
            f"{key} is {path}, which cannot be read as NIfTI; it needs a whole .nii or .nii.gz"
        ) from error
    if values.ndim != 3:
        raise UserError(f"{key} {path} has shape {values.shape}; it needs one volume [x, y, z]")
    return values, image.affine


def checked_density(values: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    """The same densities, after checking them.

    Raises:
        UserError: NaN, infinite or negative values.
    """
    if not np.isfinite(values).all() or (values < 0).any():
        raise UserError(
            f"density {path} holds NaN, infinite or negative values; densities in g/cm3 are 0 or more"
        )
    return values


def resampled(volume: Tensor, affine: Tensor, grid: VoxelGrid) -> Tensor:
    """A volume [x, y, z] with its affine, interpolated at the voxel centres of the grid, [z, y, x].

    Nothing is averaged: a file much finer than the grid is to be smoothed first.
    """
    points = grid.centres_mm()
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), dim=-1)
    voxel = (homogeneous @ torch.linalg.inv(affine.double()).T)[..., :3]
    sizes = torch.tensor(volume.shape, dtype=torch.float64)
    # grid_sample wants -1..1 from edge to edge, last axis of the volume first.
    place = ((2 * voxel + 1) / sizes - 1).flip(-1).to(volume.dtype)
    return grid_sample(volume[None, None], place[None], mode="bilinear", align_corners=False)[0, 0]
