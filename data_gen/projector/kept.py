"""The system matrix at one energy, cached on disk.

An entry is the first interactions in a pixel, through one aperture and in air, for each photon that a voxel
emits (Joseph's method, ``weights.py``). A block holds the rows [pair of pixel and aperture, voxel] of the
apertures that are mirror images of each other, once for all of them (``symmetry.py``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from data_gen.core.cache import cached, content_key
from data_gen.core.grid import VoxelGrid
from data_gen.projector.leak import LeakCaster, leak_rows
from data_gen.projector.ray_casting import RayCaster
from data_gen.projector.sparse import SparseMatrix, transposed
from data_gen.projector.symmetry import MirrorOrbits
from data_gen.projector.weights import build_rows

CODE_VERSION = 13
"""To be raised whenever the numbers in the matrix change, so that cached ones are rebuilt."""

_PARTS = ("start", "column", "value", "start_t", "column_t", "value_t")


def kept_blocks(
    caster: RayCaster,
    orbits: MirrorOrbits,
    grid: VoxelGrid,
    drop_share: float,
    dtype: torch.dtype,
    folder: Path,
) -> dict[str, Tensor]:
    """The tensors of the matrix at one energy, from the cache if they are there.

    Args:
        caster: rays of the camera at that energy.
        orbits: apertures that are mirror images of each other.
        grid: voxels.
        drop_share: share of a row's weight that may be left out, smallest entries first.
        dtype: of the entries.
        folder: folder of the cache.

    Returns:
        ``dropped``, the share that was left out of the whole; and of each block b ``b.start`` [row + 1],
        ``b.column`` [entry] int32 (flat voxel, z slowest) and ``b.value`` [entry] of a CSR matrix, with
        ``_t`` those of its transpose.
    """
    camera = caster.camera

    def build() -> dict[str, Tensor]:
        pairs = camera.pairs[orbits.first_pair]
        if isinstance(caster, LeakCaster):
            rows = leak_rows(caster, pairs, grid, drop_share, dtype)
        else:
            rows = build_rows(caster, pairs, grid, drop_share, dtype)
        first = 0
        tensors = {"dropped": torch.tensor(rows.dropped)}
        for block, count in enumerate(torch.bincount(orbits.orbit).tolist()):
            start = rows.start[first : first + count + 1]
            entries = slice(int(start[0]), int(start[-1]))
            there = (start - start[0]).to(torch.int32), rows.column[entries], rows.value[entries]
            back = transposed(*there, grid.voxels)
            parts = (*transposed(*back, count), *back)  # twice transposed: sorted within rows
            tensors |= {f"{block}.{name}": part for name, part in zip(_PARTS, parts, strict=True)}
            first += count
        return tensors

    numbers = {
        "version": CODE_VERSION,
        "grid": grid.to_dict(),
        "drop_share": drop_share,
        "dtype": str(dtype),
        **caster.numbers,
    }
    tensors = {name: value for name, value in vars(camera).items() if isinstance(value, Tensor)}
    return cached(folder, content_key(numbers, tensors), build)


def matrices_of(kept: dict[str, Tensor], blocks: int, voxels: int) -> nn.ModuleList:
    """The matrices [pair, voxel] of all blocks at one energy, of the tensors of :func:`kept_blocks`."""
    matrices = nn.ModuleList()
    for block in range(blocks):
        start, column, value, *back = (kept[f"{block}.{name}"] for name in _PARTS)
        matrices.append(SparseMatrix(start, column, value, voxels, (back[0], back[1], back[2])))
    return matrices
