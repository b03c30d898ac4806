"""Gaussian smoothing of a reconstructed image, within the body."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from data_gen.core.autograd import in_full_precision
from data_gen.core.grid import VoxelGrid

FWHM_PER_SD = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian over its standard deviation."""


@in_full_precision
def smoothed_in_body(activity: Tensor, body: Tensor, grid: VoxelGrid, fwhm_mm: float) -> Tensor:
    """Activity averaged with a Gaussian over the voxels of the body alone.

    A uniform body stays uniform up to its surface, where plain smoothing would dim it.

    Args:
        activity: [batch, map, z, y, x], 0 outside the body.
        body: [batch, 1, z, y, x], bool.
        grid: gives the voxel edges.
        fwhm_mm: full width at half maximum; 0 leaves the activity as it is.
    """
    if fwhm_mm == 0:
        return activity
    inside = body.to(activity.dtype)
    covered = gaussian_smoothed(inside, grid, fwhm_mm)
    return inside * gaussian_smoothed(inside * activity, grid, fwhm_mm) / covered.clamp_min(1e-6)


def gaussian_smoothed(image: Tensor, grid: VoxelGrid, fwhm_mm: float) -> Tensor:
    """``image`` [..., z, y, x] convolved with a Gaussian of this FWHM; zero beyond the grid."""
    for axis, spacing_mm in zip((-3, -2, -1), grid.spacing_mm, strict=True):
        image = smoothed_along(image, axis, fwhm_mm / spacing_mm)
    return image


def smoothed_along(image: Tensor, axis: int, fwhm: float) -> Tensor:
    """``image`` convolved along an axis with a Gaussian of this FWHM, in steps of it; zero beyond."""
    kernel = _gaussian(fwhm / FWHM_PER_SD).to(image)
    lines = image.movedim(axis, -1)
    smooth = _convolved(lines.reshape(-1, 1, lines.shape[-1]), kernel)
    return smooth.reshape(lines.shape).movedim(-1, axis)


def _convolved(rows: Tensor, kernel: Tensor) -> Tensor:
    """Rows [row, 1, voxel] convolved with a kernel [k].

    On CUDA in double precision: there torch rounds factors of single ones to 11 bits (TF32) unless told
    otherwise.
    """
    dtype = torch.float64 if rows.is_cuda else rows.dtype
    return conv1d(rows.to(dtype), kernel[None, None].to(dtype), padding=len(kernel) // 2).to(rows.dtype)


def _gaussian(sd_voxels: float) -> Tensor:
    """Share of a Gaussian in each voxel, out to 4 SD, summing to 1."""
    reach = max(1, math.ceil(4 * sd_voxels))
    edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
    share = torch.erf(edges / (sd_voxels * math.sqrt(2.0))).diff()
    return share / share.sum()
