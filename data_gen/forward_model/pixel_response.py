"""From first interactions per s to counts per s by pixel and energy bin, charge sharing between pixels
included.

The response R comes from ``spectral_response.py``; docs/physics.md, sections 1 and 7.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data_gen.camera import Camera


class PixelResponse(nn.Module):
    """Counts recorded by pixels for given first interactions, for all bins or at given events.

    Neighbours with the same fraction, by symmetry, are added before they are distributed over bins.

    Args:
        spectral: R [offset, g, map, bin], see
            :class:`data_gen.forward_model.spectral_response.SpectralResponse`.
        neighbours: pixel of first interaction whose charge a pixel records, [pixel, offset]; -1 for none.
        live: fraction of the scan that a pixel records, [pixel].
        sources: number of pixels of first interaction.
    """

    def __init__(self, spectral: Tensor, neighbours: Tensor, live: Tensor, sources: int) -> None:
        super().__init__()
        distinct, kind = _distinct(spectral.float())
        self.sources = sources
        self.kinds: list[int] = kind.tolist()
        self.register_buffer("by_kind", distinct, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("live", live.float(), persistent=False)

    by_kind: Tensor
    """R of each distinct kind of neighbour, [kind, g, map, bin]."""
    neighbours: Tensor
    live: Tensor

    @classmethod
    def of(cls, camera: Camera, spectral: Tensor, live: Tensor) -> PixelResponse:
        """The recording of a whole camera."""
        neighbours = [camera.neighbours((-row, -column)) for row, column in camera.response.offsets]
        return cls(spectral, torch.stack(neighbours, dim=1), live, camera.pixel_count)

    @property
    def spectral(self) -> Tensor:
        """R [offset, g, map, bin]."""
        return self.by_kind[self.kinds]

    def record(self, interactions: Tensor) -> Tensor:
        """Counts a second [batch, pixel, bin] from first interactions [batch, q, g, map]."""
        near = self._gathered(interactions, self.neighbours).flatten(2)
        near = near.mul_(self.live[:, None].to(near.dtype))  # few numbers a pixel, where counts are many
        return near @ self._kinds(near.dtype).flatten(0, 2)

    def unrecord(self, projections: Tensor) -> Tensor:
        """Transpose of :meth:`record`."""
        lived = self.live[:, None].to(projections.dtype) * projections
        by_kind = torch.einsum("bpk,ogmk->bpogm", lived, self._kinds(projections.dtype))
        return self._scattered(by_kind, self.neighbours)

    def record_at(self, interactions: Tensor, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Counts a second at events: first interactions [q, g, map] of one scan to [event]."""
        near = self._gathered(interactions[None], self.neighbours[pixel])[0].flatten(1)
        rate = (near * self._rows(near.dtype)[energy_bin]).sum(dim=1)
        return self.live[pixel].to(near.dtype) * rate

    def unrecord_at(self, values: Tensor, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Transpose of :meth:`record_at`: [event] to [q, g, map]."""
        lived = self.live[pixel].to(values.dtype) * values
        by_kind = lived[:, None] * self._rows(values.dtype)[energy_bin]
        shape = self.by_kind.shape[:-1]
        return self._scattered(by_kind.unflatten(1, shape)[None], self.neighbours[pixel])[0]

    def summed(self, dtype: torch.dtype) -> Tensor:
        """:meth:`unrecord` of ones, without a dense array: [q, g, map]."""
        per_pixel = torch.einsum("p,ogm->pogm", self.live.to(dtype), self._kinds(dtype).sum(-1))
        return self._scattered(per_pixel[None], self.neighbours)[0]

    def total(self, interactions: Tensor) -> Tensor:
        """Counts a second of all pixels together, [batch, bin], never held by pixel."""
        near = self._gathered(interactions, self.neighbours)
        summed = torch.einsum("p,bpogm->bogm", self.live.to(interactions.dtype), near)
        return torch.einsum("bogm,ogmk->bk", summed, self._kinds(interactions.dtype))

    def subset(self, pixels: Tensor | slice) -> tuple[PixelResponse, Tensor]:
        """The recording of some pixels, and the pixels of first interaction that it needs, [k]."""
        neighbours = self.neighbours[pixels]
        needed = torch.unique(neighbours[neighbours >= 0])
        place = torch.full((self.sources + 1,), -1, dtype=torch.int64, device=needed.device)
        place[needed] = torch.arange(len(needed), device=needed.device)
        return PixelResponse(self.spectral, place[neighbours], self.live[pixels], len(needed)), needed

    def recording(self, spectral: Tensor) -> PixelResponse:
        """Response of these pixels on another energy axis."""
        return PixelResponse(spectral.to(self.live.device), self.neighbours, self.live, self.sources)

    def _kinds(self, dtype: torch.dtype) -> Tensor:
        return self.by_kind.to(dtype)

    def _rows(self, dtype: torch.dtype) -> Tensor:
        """What each bin records, [bin, kind * g * map]: one piece of memory for each event."""
        return self._kinds(dtype).flatten(0, 2).T.contiguous()

    def _gathered(self, interactions: Tensor, neighbours: Tensor) -> Tensor:
        """First interactions of the neighbours of each kind, [batch, pixel, kind, g, map]."""
        kinds: list[Tensor | None] = [None] * len(self.by_kind)
        padded = torch.nn.functional.pad(interactions.flatten(2), (0, 0, 0, 1))  # none beyond edges
        place = torch.where(neighbours < 0, self.sources, neighbours)
        for source, kind in zip(place.unbind(dim=1), self.kinds, strict=True):
            picked = padded.index_select(1, source)
            before = kinds[kind]
            kinds[kind] = picked if before is None else before + picked
        gathered = torch.stack([k for k in kinds if k is not None], dim=2)
        return gathered.reshape(*gathered.shape[:3], *interactions.shape[2:])

    def _scattered(self, by_kind: Tensor, neighbours: Tensor) -> Tensor:
        """Transpose of :meth:`_gathered`: [batch, q, g, map]."""
        shape = by_kind.shape
        total = by_kind.new_zeros(shape[0], self.sources, *shape[3:])
        for source, kind in zip(neighbours.unbind(dim=1), self.kinds, strict=True):
            inside = source >= 0
            total = total.index_add(1, source[inside], by_kind[:, inside, kind])
        return total


def _distinct(spectral: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct ones of R [offset, ...], and which of them each offset has."""
    kinds: list[Tensor] = []
    which = []
    for one in spectral:
        same = [k for k, kind in enumerate(kinds) if torch.allclose(one, kind, rtol=1e-6, atol=0)]
        if not same:
            kinds.append(one)
        which.append(same[0] if same else len(kinds) - 1)
    return torch.stack(kinds), torch.tensor(which)
