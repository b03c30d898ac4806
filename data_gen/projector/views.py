"""How the rows of a matrix, applied to mirror images of the activity, make the pixels of a camera."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data_gen.projector.symmetry import MirrorOrbits


class Views(nn.Module):
    """Which mirror images each block of matrix columns is applied to, and which pixel each result belongs to.

    The dense factor of the matrix is [block, voxel, column, n] for n volumes: column k of block i holds
    activity times transmission, as seen by one aperture in its own mirror image.
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
        self.whole = False
        names = ("orbit", "mirror", "row_block", "place", "pixel")
        for name, part in zip(names, (orbit, mirror, row_block, place, pixel), strict=True):
            self.register_buffer(name, part, persistent=False)

    orbit: Tensor
    """Orbit of the aperture of each block, [block]."""
    mirror: Tensor
    """Mirror of each column of each block, [block, column]."""
    row_block: Tensor
    """Block of each row, [row]."""
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
        views = cls(orbits.mirrors, torch.arange(count), mirror, orbits.orbit, place, pixel)
        views.whole = True
        return views

    def mirrored(self, volumes: Tensor) -> Tensor:
        """Mirror images [block or 1, voxel, column, n] of volumes [n, z, y, x]."""
        images = torch.stack([volumes.flip(axes).flatten(1) for axes in self.mirrors]).permute(2, 0, 1)
        if self.whole:
            return images[None].contiguous()
        return images[:, self.mirror].movedim(1, 0).contiguous()

    def unmirrored(self, images: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Transpose of :meth:`mirrored`, from :meth:`summed` images: [n, z, y, x]."""
        volumes = images.permute(1, 2, 0).unflatten(2, shape)
        return torch.stack([v.flip(axes) for v, axes in zip(volumes, self.mirrors, strict=True)]).sum(dim=0)

    def transmission(self, attenuation: Tensor) -> Tensor:
        """Transmission [block, voxel, column, n] from all of it [n, orbit, voxel, mirror]."""
        if self.whole:
            return attenuation.permute(1, 2, 3, 0)
        chosen = attenuation.permute(1, 3, 2, 0)[self.orbit[:, None], self.mirror]
        return chosen.movedim(1, 2)

    def summed(self, sent: Tensor) -> Tensor:
        """Mirror images [voxel, mirror, n], summed over apertures, of a dense factor."""
        if self.whole:
            return sent.sum(dim=0)
        images = sent.movedim(2, 1).flatten(0, 1)
        total = images.new_zeros(len(self.mirrors), *images.shape[1:])
        return total.index_add(0, self.mirror.flatten(), images).movedim(0, 1)

    def by_pixel(self, by_row: Tensor, pixels: int) -> Tensor:
        """Values of pixels [pixel, n] from those of rows [row * column, n]."""
        return by_row.new_zeros(pixels, by_row.shape[1]).index_add(0, self.pixel, by_row[self.place])

    def by_row(self, by_pixel: Tensor) -> Tensor:
        """Transpose of :meth:`by_pixel`: each result of rows belongs to one pair."""
        by_row = by_pixel.new_zeros(len(self.place), by_pixel.shape[1])
        return by_row.index_copy(0, self.place, by_pixel[self.pixel])

    def subset(self, pixels: Tensor, all_pixels: int) -> tuple[Views, Tensor, Tensor]:
        """The views of some distinct pixels [k], the rows that they need, and the new block of each row.

        Mirrored pixels keep sharing a row where the same mirrors of every row are wanted; otherwise each pair
        gets a row of its own.
        """
        number = torch.full((all_pixels,), -1, dtype=torch.int64, device=pixels.device)
        number[pixels] = torch.arange(len(pixels), device=pixels.device)
        pairs = (number[self.pixel] >= 0).nonzero()[:, 0]
        row, column = self.place[pairs] // self.columns, self.place[pairs] % self.columns
        slot = self.row_block[row] * self.columns + column
        slots, which = torch.unique(slot, return_inverse=True)
        if len(slots) == 0:  # a product needs columns
            slots = self.place.new_zeros(1)
        rows, where, times = torch.unique(row, return_inverse=True, return_counts=True)
        per_block = torch.unique(slots // self.columns, return_counts=True)[1]
        shared = int(per_block[0])
        if bool((per_block == shared).all()) and bool((times == shared).all()):
            place = where * shared + which % shared
            block = torch.empty_like(rows)
            block[where] = which // shared
        else:
            shared, rows, block = 1, row, which
            place = torch.arange(len(pairs), device=pixels.device)
        slots = slots.reshape(-1, shared)
        old = slots // self.columns
        views = Views(
            self.mirrors,
            self.orbit[old[:, 0]],
            self.mirror[old, slots % self.columns],
            block,
            place,
            number[self.pixel[pairs]],
        )
        return views, rows, block
