"""Texture of activity maps inside the body: radial power spectrum and total variation, of any unit.

Frequencies are in cycles per voxel along the radius, so that half a cycle is the highest along an axis, and
the corners of the cube reach sqrt(3) / 2. The maps are taken as periodic, with zeros outside of the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

HIGH = 0.25
"""Cycles per voxel above which power counts as detail: structures of less than four voxels; chosen."""


def radial_frequency(shape: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Cycles per voxel of each Fourier mode of a volume, [z, y, x] as ``torch.fft.fftn`` orders them."""
    along = [torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in shape]
    grids = torch.meshgrid(*along, indexing="ij")
    return reduce(torch.add, (grid.square() for grid in grids)).sqrt()


def shell_of_modes(shape: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Shell of each Fourier mode, [z, y, x] int64: its cycles over the longest edge, rounded.

    Shell 0 is the mean alone.
    """
    return (radial_frequency(shape, device) * max(shape)).round().long()


def radial_power(maps: Tensor, body: Tensor) -> Tensor:
    """Mean power of the Fourier modes of each shell, relative to that of the mean: [batch, map, shell].

    Args:
        maps: [batch, map, z, y, x].
        body: [batch, 1 or map, z, y, x], bool.

    Returns:
        Shell s is of s cycles over the longest edge, see :func:`shell_of_modes`; 1 in shell 0. NaN for a map
        that sums to nothing.
    """
    power = _power(maps, body).flatten(2)
    shells = shell_of_modes(maps.shape[2:], maps.device).flatten()
    modes = torch.bincount(shells).to(power)
    total = power.new_zeros(*power.shape[:2], len(modes)).index_add(2, shells, power)
    return total / modes / power[..., :1]


def high_frequency_share(maps: Tensor, body: Tensor, above: float = HIGH) -> Tensor:
    """Share of the power beside the mean's that lies above a frequency in cycles per voxel, [batch, map].

    NaN for a map that is the same everywhere.
    """
    power = _power(maps, body).flatten(2)
    high = radial_frequency(maps.shape[2:], maps.device).flatten() > above
    return power[..., high].sum(dim=2) / power[..., 1:].sum(dim=2)


def total_variation(maps: Tensor, body: Tensor) -> Tensor:
    """Sum of absolute differences between neighbours in the body over the sum of the map, [batch, map].

    Neighbours along all three axes; the outline of the body, which methods are told, is no part of it. NaN
    for a map that sums to nothing.
    """
    inside = body.expand_as(maps)
    found = maps.new_zeros(maps.shape[:2])
    for axis in (2, 3, 4):
        n = maps.shape[axis] - 1
        pair = inside.narrow(axis, 0, n) & inside.narrow(axis, 1, n)
        found = found + (maps.diff(dim=axis).abs() * pair).sum(dim=(2, 3, 4))
    return found / (maps * inside).sum(dim=(2, 3, 4))


def _power(maps: Tensor, body: Tensor) -> Tensor:
    """Squared size of each Fourier mode inside the body, in double precision."""
    modes: Tensor = torch.fft.fftn(maps.double() * body, dim=(2, 3, 4))
    return modes.abs().square()
