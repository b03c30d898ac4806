"""The rows of the system matrix: what each voxel gives to each pixel through each aperture, in air."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.errors import UserError
from data_gen.grid import VoxelGrid
from data_gen.projector.rays import RayCaster, cross_grid, main_axis

NODES_AT_ONCE = 1_500_000
"""Ray crossings times window width held at a time, which bounds the memory of the build."""


@dataclass(frozen=True)
class Rows:
    """A matrix by rows: ``start`` [pixel + 1], ``column`` (aperture * voxels + voxel) and ``value``."""

    start: Tensor
    column: Tensor
    value: Tensor
    dropped: float
    """Share of the whole weight that was left out as negligible."""


def build_rows(caster: RayCaster, grid: VoxelGrid, drop_share: float, dtype: torch.dtype) -> list[Rows]:
    """The rows of all pixels at each energy of the caster, [g] matrices.

    Args:
        caster: casts the rays.
        grid: voxels.
        drop_share: share of each row's weight that may be dropped, smallest entries first.
        dtype: of the values.
    """
    pairs = caster.camera.pairs
    energies = len(caster.plate_mu)
    kept: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in range(energies)]
    lost = torch.zeros(energies, dtype=torch.float64)
    total = torch.zeros(energies, dtype=torch.float64)
    with torch.no_grad():
        for chosen, window in _windows(caster, grid, dtype):
            aperture = pairs[chosen, 1]
            for g in range(energies):
                value = window.value[:, g]
                keep = value > _threshold(value, drop_share)
                total[g] += value.sum()
                lost[g] += torch.where(keep, 0, value).sum()
                pair, place = keep.nonzero(as_tuple=True)
                column = aperture[pair] * grid.voxels + window.voxel(pair, place)
                kept[g].append((chosen[pair], column.to(torch.int32), value[pair, place]))
    share = (lost / total.clamp_min(torch.finfo(torch.float64).tiny)).tolist()
    return [
        _assembled(parts, pairs[:, 0], caster.camera.pixel_count, s)
        for parts, s in zip(kept, share, strict=True)
    ]


@dataclass(frozen=True)
class _Window:
    """Weights on a window of each plane of the grid, for some pairs."""

    value: Tensor
    """[pair, g, plane * first * second]."""
    first: Tensor
    """Corner of the window along the first axis across, [pair, plane]."""
    second: Tensor
    size: tuple[int, int]
    strides: tuple[int, int, int]
    """Of the flat voxel index along (plane, first, second)."""

    def voxel(self, pair: Tensor, place: Tensor) -> Tensor:
        """Flat voxel index of entries (pair, place)."""
        plane, rest = place // (self.size[0] * self.size[1]), place % (self.size[0] * self.size[1])
        first = self.first[pair, plane] + rest // self.size[1]
        second = self.second[pair, plane] + rest % self.size[1]
        return plane * self.strides[0] + first * self.strides[1] + second * self.strides[2]


def _windows(caster: RayCaster, grid: VoxelGrid, dtype: torch.dtype) -> Iterator[tuple[Tensor, _Window]]:
    """Indices of pairs with the weights of their rays, a chunk at a time."""
    pairs = caster.camera.pairs
    axes = main_axis(caster.camera, pairs)
    for axis in range(3):
        chosen = (axes == axis).nonzero()[:, 0]
        planes = grid.shape[2 - axis]
        chunk = max(1, NODES_AT_ONCE // (caster.sampling.rays * planes * 12))
        for part in chosen.split(chunk) if len(chosen) else ():
            yield part, _window(caster, pairs[part], grid, axis, dtype)


def _window(caster: RayCaster, pairs: Tensor, grid: VoxelGrid, axis: int, dtype: torch.dtype) -> _Window:
    """Joseph's projector for a bundle of rays: on each plane across the main axis, the weight of a voxel is
    the sum over rays of bilinear tents; as a product of two thin matrices it needs no scattered adds."""
    rays = caster.cast(pairs)
    crossings = cross_grid(rays, grid, axis, 1)
    across = [a for a in (2, 1, 0) if a != axis]  # points' order x, y, z; rising stride last
    corners, tents = zip(*(_tents(crossings.point_mm[..., a], grid, a, dtype) for a in across), strict=True)
    per_volume = 1.0 / (1000.0 * grid.voxel_volume_ml)
    step = (crossings.step_mm * per_volume).to(dtype).movedim(2, 1)
    weight = rays.weight.to(dtype)
    value = torch.stack(
        [
            (tents[0] * (step * weight[:, None, :, g])[..., None]).mT @ tents[1]
            for g in range(weight.shape[2])
        ],
        dim=1,
    )
    size = (tents[0].shape[-1], tents[1].shape[-1])
    stride = (1, grid.shape[2], grid.shape[2] * grid.shape[1])  # of x, y, z
    strides = (stride[axis], stride[across[0]], stride[across[1]])
    return _Window(value.flatten(2), corners[0], corners[1], size, strides)


def _tents(place_mm: Tensor, grid: VoxelGrid, axis: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Linear interpolation weights of rays along one axis of the grid, on a window around the rays.

    Args:
        place_mm: coordinate where rays cross planes, [pair, ray, plane].

    Returns:
        First voxel of the window [pair, plane] and the weights [pair, plane, ray, width].
    """
    count, spacing = grid.shape[2 - axis], grid.spacing_mm[2 - axis]
    index = place_mm.movedim(2, 1) / spacing + (count - 1) / 2
    low = index.amin(dim=2).floor().clamp(0, count - 1).to(torch.int64)
    high = (index.amax(dim=2).floor() + 1).clamp(0, count - 1).to(torch.int64)
    width = int((high - low).max()) + 1
    low = low.clamp_max(count - width)
    voxel = low[..., None] + torch.arange(width)
    return low, (1 - (index[..., None] - voxel[:, :, None]).abs()).relu_().to(dtype)


def _threshold(value: Tensor, drop_share: float) -> Tensor:
    """For each row [pair, place], a value below which entries hold at most ``drop_share`` of it."""
    total = value.sum(dim=1, keepdim=True)
    threshold = torch.zeros_like(total)
    if drop_share <= 0:
        return threshold
    for halvings in range(20, 4, -1):
        trial = total * 2.0**-halvings
        lost = torch.where(value <= trial, value, 0).sum(dim=1, keepdim=True)
        threshold = torch.where(lost <= drop_share * total, trial, threshold)
    return threshold


def _assembled(
    parts: list[tuple[Tensor, Tensor, Tensor]], pixel: Tensor, pixels: int, dropped: float
) -> Rows:
    """Rows of pixels from entries (pair, column, value) that are sorted by pair within each part."""
    count = sum(
        (torch.bincount(pair, minlength=len(pixel)) for pair, _, _ in parts), torch.zeros(len(pixel)).long()
    )
    first = count.cumsum(0) - count
    entries = int(count.sum())
    if entries >= 2**31:
        raise UserError(
            f"the system matrix would hold {entries} entries; a coarser grid or fewer pixels is needed"
        )
    column = torch.empty(entries, dtype=torch.int32)
    value = torch.empty(entries, dtype=parts[0][2].dtype)
    while parts:
        pair, part_column, part_value = parts.pop()
        begins = torch.searchsorted(pair, pair)  # of the pair within the part
        place = first[pair] + torch.arange(len(pair)) - begins
        column[place], value[place] = part_column, part_value
    per_pixel = torch.zeros(pixels, dtype=torch.int64).index_add_(0, pixel, count)
    start = torch.cat((per_pixel.new_zeros(1), per_pixel.cumsum(0))).to(torch.int32)
    return Rows(start, column, value, dropped)
