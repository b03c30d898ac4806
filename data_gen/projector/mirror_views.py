"""Use of mirror symmetry: how matrix rows, applied to mirror images of the activity, give all pixels of a
camera.

Input are the mirror orbits of a camera (``symmetry.py``); the operations reorder dense factors [voxel,
column, n] and rows into pixels, and back. No physics and no units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data_gen.projector.symmetry import MirrorOrbits


class Views(nn.Module):
    """Apertures in blocks that share matrix rows, each of which sees the activity in a mirror image of its
    own.

    Rows are sorted by block. The dense factor of a block is [voxel, column, n] for n volumes: column k is
    activity times transmission for the block's aperture k.
    """

    def __init__(
        self,
        mirrors: tuple[tuple[int, ...], ...],
        orbit: Tensor,
        mirror: Tensor,
        row_block: Tensor,
        place: Tensor,
        pixel: Tensor,
    ) -> None:
        super().__init__()
        self.mirrors = mirrors
        self.blocks, self.columns = mirror.shape
        self.rows = torch.bincount(row_block, minlength=self.blocks).tolist()
        self.orbits: list[int] = orbit.tolist()
        self.whole = self.columns == len(mirrors)
        names = ("orbit", "mirror", "row_block", "place", "pixel")
        for name, part in zip(names, (orbit, mirror, row_block, place, pixel), strict=True):
            self.register_buffer(name, part, persistent=False)

    orbit: Tensor
    """Orbit of the apertures of each block, [block]."""
    mirror: Tensor
    """Mirror of each column of each block, [block, column], rising."""
    row_block: Tensor
    """Block of each row, [row], rising."""
    place: Tensor
    """row * columns + column of each pair of pixel and aperture, [pair]."""
    pixel: Tensor
    """Pixel of each pair, [pair]."""

    @classmethod
    def of(cls, orbits: MirrorOrbits, pixel: Tensor) -> Views:
        """The views of a whole camera; ``pixel`` is that of each of its pairs."""
        count, mirrors = orbits.aperture.shape
        mirror = torch.arange(mirrors).expand(count, mirrors)
        place = orbits.row * mirrors + orbits.mirror
        return cls(orbits.mirrors, torch.arange(count), mirror, orbits.orbit, place, pixel)

    def mirrored(self, volumes: Tensor) -> Tensor:
        """All mirror images [voxel, mirror, n] of volumes [n, z, y, x]."""
        images = torch.stack([volumes.flip(axes).flatten(1) for axes in self.mirrors])
        return images.permute(2, 0, 1).contiguous()

    def unmirrored(self, images: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Transpose of :meth:`mirrored`: [n, z, y, x]."""
        volumes = images.permute(1, 2, 0).unflatten(2, shape)
        return torch.stack([v.flip(axes) for v, axes in zip(volumes, self.mirrors, strict=True)]).sum(dim=0)

    def chosen(self, images: Tensor, block: int) -> Tensor:
        """The images [voxel, column, n] that a block sees, of all [voxel, mirror, n]."""
        return images if self.whole else images[:, self.mirror[block]]

    def columns_of(self, transmission: Tensor, block: int) -> Tensor:
        """Transmission [batch, voxel, column] to a block's columns, of that to all mirrors."""
        return transmission if self.whole else transmission[:, :, self.mirror[block]]

    def gathered(self, total: Tensor, seen: Tensor, block: int) -> Tensor:
        """Transpose of :meth:`chosen`: ``total`` [voxel, mirror, n] plus the back-projection of a block."""
        return total + seen if self.whole else total.index_add(1, self.mirror[block], seen)

    def by_pixel(self, by_row: Tensor, pixels: int) -> Tensor:
        """Values of pixels [pixel, n] from those of rows [row * column, n]."""
        return by_row.new_zeros(pixels, by_row.shape[1]).index_add(0, self.pixel, by_row[self.place])

    def by_row(self, by_pixel: Tensor) -> list[Tensor]:
        """Transpose of :meth:`by_pixel`, by block: [row of block, column * n] each."""
        by_row = by_pixel.new_zeros(len(self.place), by_pixel.shape[1])
        by_row = by_row.index_copy(0, self.place, by_pixel[self.pixel])
        return list(by_row.reshape(-1, self.columns * by_pixel.shape[1]).split(self.rows))

    def subset(self, pixels: Tensor, all_pixels: int) -> tuple[Views, list[tuple[int, Tensor]]]:
        """The views of some distinct pixels [k], and for each of their blocks the old block and its rows.

        Mirrored pixels keep sharing a row where the same mirrors of every row are wanted; otherwise each
        aperture gets a block of its own.
        """
        pixels = pixels.to(self.pixel.device)
        number = torch.full((all_pixels,), -1, dtype=torch.int64, device=pixels.device)
        number[pixels] = torch.arange(len(pixels), device=pixels.device)
        pair = (number[self.pixel] >= 0).nonzero()[:, 0]
        row_of = self.place[pair] // self.columns
        slot = self.row_block[row_of] * self.columns + self.place[pair] % self.columns
        slots, which = torch.unique(slot, return_inverse=True)
        if len(slots) == 0:  # a product needs columns
            slots = slots.new_zeros(1)
        times = torch.unique(row_of, return_counts=True)[1]
        per_block = torch.unique(slots // self.columns, return_counts=True)[1]
        shared = int(per_block[0])
        if not (bool((per_block == shared).all()) and bool((times == shared).all())):
            shared = 1
        # Rows by new block, then by old row.
        rank = which // shared * len(self.row_block) + row_of
        ranks, row = torch.unique(rank, return_inverse=True)
        block, old_row = ranks // len(self.row_block), ranks % len(self.row_block)
        old = slots.reshape(-1, shared) // self.columns
        mirror = self.mirror[old, slots.reshape(-1, shared) % self.columns]
        place = row * shared + which % shared
        views = Views(self.mirrors, self.orbit[old[:, 0]], mirror, block, place, number[self.pixel[pair]])
        first = [0, *torch.tensor(self.rows).cumsum(0).tolist()]
        sources = zip(old[:, 0].tolist(), old_row.split(views.rows), strict=True)
        return views, [(b, rows - first[b]) for b, rows in sources]
