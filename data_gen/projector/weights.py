"""Rows of the system matrix: first interactions in a pixel through an aperture per decay in each voxel, in
air.

Source: Joseph, IEEE Trans. Med. Imaging 1 (1982) 192, along rays weighted by ``ray_casting.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.grid import VoxelGrid
from data_gen.core.parallel import on_all_cores
from data_gen.projector.crossings import cross_grid, main_axis
from data_gen.projector.ray_casting import RayCaster

CROSSINGS_AT_ONCE = 1_000_000
"""Crossings of rays with planes held at a time, which bounds the memory of the build."""


@dataclass(frozen=True)
class Rows:
    """A matrix by rows: ``start`` [row + 1] int64, ``column`` (voxel) int32, and ``value``."""

    start: Tensor
    column: Tensor
    value: Tensor
    dropped: float
    """Share of the whole weight that was left out as negligible."""


def build_rows(
    caster: RayCaster, pairs: Tensor, grid: VoxelGrid, drop_share: float, dtype: torch.dtype
) -> Rows:
    """The rows of some pairs.

    Args:
        caster: casts the rays, at one energy.
        pairs: (pixel, aperture) of each row, [row, 2].
        grid: voxels.
        drop_share: share of each row's weight that may be dropped, smallest entries first.
        dtype: number type of the values.
    """

    def entries(chunk: tuple[Tensor, int]) -> tuple[tuple[Tensor, Tensor, Tensor], float, float]:
        """The entries of a chunk that are kept, the weight of all and that of those left out."""
        chosen, axis = chunk
        row, voxel, value = _entries(caster, pairs[chosen], grid, axis, dtype)
        keep = value > threshold(row, value, len(chosen), drop_share)[row]
        kept = chosen[row[keep]], voxel[keep].to(torch.int32), value[keep]
        return kept, float(value.sum()), float(value[~keep].sum())

    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    total = lost = 0.0
    for part, weight, dropped in on_all_cores(entries, _chunks(caster, pairs, grid)):
        kept.append(part)
        total, lost = total + weight, lost + dropped
    return assembled(kept, len(pairs), lost / total if total else 0.0)


def _chunks(caster: RayCaster, pairs: Tensor, grid: VoxelGrid) -> Iterator[tuple[Tensor, int]]:
    """Indices of pairs whose rays run along the same axis of the grid, a few at a time, and that axis."""
    axes = main_axis(caster.camera, pairs)
    for axis in range(3):
        chosen = (axes == axis).nonzero()[:, 0]
        at_once = max(1, CROSSINGS_AT_ONCE // (caster.rays * grid.shape[2 - axis]))
        for part in chosen.split(at_once) if len(chosen) else ():
            yield part, axis


def _entries(
    caster: RayCaster, pairs: Tensor, grid: VoxelGrid, axis: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Joseph's projector for the rays of some pairs: on each plane of voxels across the main axis, a ray's
    step is divided between its four nearest voxels.

    Returns:
        Entries that are not 0, by ascending pair: pair, flat voxel index, value, [entry] each.
    """
    rays = caster.cast(pairs)
    crossings = cross_grid(rays, grid, axis, 1)
    first, second = (a for a in (2, 1, 0) if a != axis)  # of points (x, y, z)
    low_1, size_1, index_1, share_1 = _window(crossings.point_mm[..., first], grid, first)
    low_2, size_2, index_2, share_2 = _window(crossings.point_mm[..., second], grid, second)
    step = crossings.step_mm * rays.weight[..., None] / (1000.0 * grid.voxel_volume_ml)
    planes = step.shape[2]
    plane = torch.arange(len(pairs) * planes).reshape(-1, 1, planes)
    place = (plane * size_1 + index_1) * size_2 + index_2
    window = torch.zeros(len(pairs) * planes * size_1 * size_2, dtype=dtype)
    for corner_1, part_1 in ((0, 1 - share_1), (size_2, share_1)):
        near = step * part_1
        for corner_2, part_2 in ((0, 1 - share_2), (1, share_2)):
            window.index_add_(
                0, (place + (corner_1 + corner_2)).flatten(), (near * part_2).to(dtype).flatten()
            )
    entry = window.nonzero()[:, 0]
    value = window[entry]
    plane_of, rest = entry // (size_1 * size_2), entry % (size_1 * size_2)
    at_1 = low_1.flatten()[plane_of] + rest // size_2
    at_2 = low_2.flatten()[plane_of] + rest % size_2
    inside = (at_1 >= 0) & (at_1 < grid.shape[2 - first]) & (at_2 >= 0) & (at_2 < grid.shape[2 - second])
    stride = (1, grid.shape[2], grid.shape[2] * grid.shape[1])  # of x, y, z
    voxel = plane_of % planes * stride[axis] + at_1 * stride[first] + at_2 * stride[second]
    return (plane_of // planes)[inside], voxel[inside], value[inside]


def _window(place_mm: Tensor, grid: VoxelGrid, axis: int) -> tuple[Tensor, int, Tensor, Tensor]:
    """Where rays fall between voxels along one axis of the grid, within a window around all rays of a pair.

    Args:
        place_mm: coordinate where rays cross planes, [pair, ray, plane].

    Returns:
        First voxel of the window [pair, plane], its width, and for each crossing the voxel below it in the
        window and the share of the voxel above. Voxels -1 and beyond the last stand for outside.
    """
    count, spacing = grid.shape[2 - axis], grid.spacing_mm[2 - axis]
    index = (place_mm / spacing + (count - 1) / 2).clamp(-1, count)
    below = index.floor()
    low = below.amin(dim=1)
    inside = (below - low[:, None]).to(torch.int64)
    return low.to(torch.int64), int(inside.max()) + 2, inside, index - below


def threshold(pair: Tensor, value: Tensor, pairs: int, drop_share: float) -> Tensor:
    """For each pair, a value below which its entries hold at most ``drop_share`` of its weight, [pairs]."""
    total = value.new_zeros(pairs).index_add_(0, pair, value)
    # Weight of entries between powers of 2 of their row's total.
    octaves = 32
    octave = (value / total[pair]).log2().floor().to(torch.int64).clamp(-octaves, -1) + octaves
    held = (
        value.new_zeros(pairs * octaves).index_add_(0, pair * octaves + octave, value).reshape(pairs, octaves)
    )
    small = held.cumsum(dim=1) <= drop_share * total[:, None]
    return total * 2.0 ** (small.sum(dim=1) - octaves)


def assembled(parts: list[tuple[Tensor, Tensor, Tensor]], rows: int, dropped: float) -> Rows:
    """Rows from entries (row, column, value), sorted by row within each part; a row is in one part."""
    count = torch.zeros(rows, dtype=torch.int64)
    for row, _, _ in parts:
        count += torch.bincount(row, minlength=rows)
    start = torch.cat((count.new_zeros(1), count.cumsum(0)))
    entries = int(start[-1])
    column = torch.empty(entries, dtype=torch.int32)
    value = torch.empty(entries, dtype=parts[0][2].dtype)
    while parts:
        row, part_column, part_value = parts.pop()
        begins = torch.searchsorted(row, row)  # of the row within the part
        place = start[row] + torch.arange(len(row)) - begins
        column[place], value[place] = part_column, part_value
    return Rows(start, column, value, dropped)
