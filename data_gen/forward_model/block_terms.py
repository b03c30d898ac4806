"""Leakage and scatter on blocks of pixels: from first interactions to counts per second.

Blocks are interpolated bilinearly to pixels; spectra as in ``spectral_response.py``. docs/physics.md, section
6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.autograd import in_full_precision
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.spectral_response import SpectralResponse
from data_gen.projector import ProjectorFactory
from data_gen.projector.sparse import SparseMatrix
from data_gen.scatter import Leakage, ObjectScatter, ScatterSampling, ScatterTerm
from data_gen.scatter.collimator import CollimatorScatter

ALL_AT_ONCE = 1 << 30
"""Dense columns of the product that spreads blocks over pixels."""


class BlockTerms(nn.Module):
    """Leakage and scatter terms on blocks, as recorded: linear in activity, [pixel, bin] or at events.

    A block's counts are interpolated to its pixels, linearly between the centres of blocks, which preserves
    sums. Charge sharing with neighbours, much narrower than a block, is neglected. Terms on blocks of other
    sizes add to a pixel; the blocks of each size follow those of the size before.

    Args:
        terms: leakage and scatter terms; sizes of blocks follow from their cameras.
        spectral: spectral response of each term, [g, k, map, bin]: counts per first interaction, per photon
            per decay at g.
        corner: block [pixel, 4 per size] of the recording pixels.
        weight: fraction of that block's counts [pixel, 4 per size], live time included.
    """

    def __init__(
        self, terms: Sequence[ScatterTerm], spectral: Sequence[Tensor], corner: Tensor, weight: Tensor
    ) -> None:
        super().__init__()
        self.terms = list(terms)
        self.parts = nn.ModuleList(term for term in terms if isinstance(term, nn.Module))
        self.sizes = block_sizes(terms)
        self.blocks = sum(self.sizes)
        for index, factor in enumerate(spectral):
            self.register_buffer(f"spectral_{index}", factor.float().to(corner.device), persistent=False)
        self.register_buffer("corner", corner, persistent=False)
        self.register_buffer("weight", weight.float(), persistent=False)
        self._spread: SparseMatrix | None = None

    corner: Tensor
    weight: Tensor

    @in_full_precision
    def state(self, density: Tensor, material: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the terms keep of an object, batch first."""
        return tuple(term.state(density, material) for term in self.terms)

    @in_full_precision
    def project_onto(self, counts: Tensor, activity: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Counts a second [batch, pixel, bin] for activity [batch, map, z, y, x] in Bq per voxel, added to
        other ``counts``, which are given up for it."""
        matrix, table = self._matrix(activity.dtype), self.table(activity, state)
        scans = [matrix.added(*scan) for scan in zip(counts, table, strict=True)]
        return scans[0][None] if len(scans) == 1 else torch.stack(scans)

    @in_full_precision
    def table(self, activity: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Counts a second of whole blocks, [batch, block, bin]."""
        counts = []
        for i, (term, kept) in enumerate(zip(self.terms, state, strict=True)):
            spectral = self._spectral(i, activity.dtype)
            counts.append(torch.einsum("bqgkm,gkme->bqe", term.forward(activity, kept), spectral))
        return self._by_size(counts)

    @in_full_precision
    def tables_of(self, parts: Tensor, maps: Sequence[int], state: tuple[Tensor, ...]) -> Tensor:
        """Counts a second of whole blocks for several activities of one object, [part, block, bin].

        Args:
            parts: [part, z, y, x] in Bq per voxel.
            maps: activity map that each part belongs to, [part].
            state: of the object, a batch of one.
        """
        counts = []
        for i, (term, kept) in enumerate(zip(self.terms, state, strict=True)):
            seen = term.forward(parts[None], kept)[0]
            spectral = self._spectral(i, parts.dtype)[:, :, list(maps)]
            counts.append(torch.einsum("qgkr,gkre->rqe", seen, spectral))
        return self._by_size(counts)

    @in_full_precision
    def image(self, table: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Transpose of :meth:`table`: [batch, block, bin] to [batch, map, z, y, x]."""
        values = [
            torch.einsum("bqe,gkme->bqgkm", own, self._spectral(i, table.dtype))
            for i, own in enumerate(self._by_term(table))
        ]
        return self._adjoint(values, state)

    def spread(self, table: Tensor) -> Tensor:
        """Blocks [batch, block, bin] to pixels [batch, pixel, bin]."""
        flat = table.movedim(0, 1).flatten(1)
        spread: Tensor = self._matrix(table.dtype).times(flat).unflatten(1, (len(table), -1))
        return spread.movedim(1, 0)

    def spread_at(self, table: Tensor, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        """Blocks [block, bin] of one scan to events, [event]."""
        near = table[self.corner[pixel], energy_bin[:, None]]
        return (near * self.weight[pixel].to(near.dtype)).sum(dim=1)

    def back_project(self, values: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Transpose of :meth:`table` and :meth:`spread`."""
        return self.image(self._on_blocks(values), state)

    def back_project_at(
        self, values: Tensor, state: tuple[Tensor, ...], pixel: Tensor, energy_bin: Tensor
    ) -> Tensor:
        """Transpose of :meth:`spread_at` and :meth:`table`, [1, map, z, y, x]."""
        bins = self._spectral(0, values.dtype).shape[-1]
        place = self.corner[pixel] * bins + energy_bin[:, None]
        table = values.new_zeros(self.blocks * bins)
        table = table.index_add(
            0, place.flatten(), (values[:, None] * self.weight[pixel].to(values.dtype)).flatten()
        )
        return self.image(table.reshape(1, self.blocks, bins), state)

    @in_full_precision
    def summed(self, state: tuple[Tensor, ...]) -> Tensor:
        """The transpose applied to ones: counts a second over all pixels and bins, [batch, map, z, y, x]."""
        by_block = self._given(state[0].dtype)
        values = [
            torch.einsum("bq,gkm->bqgkm", own, self._spectral(i, by_block.dtype).sum(-1))
            for i, own in enumerate(self._by_term(by_block.expand(len(state[0]), -1)))
        ]
        return self._adjoint(values, state)

    @in_full_precision
    def total(self, activity: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Counts a second of the whole camera, [batch, bin]."""
        return torch.einsum("q,bqk->bk", self._given(activity.dtype), self.table(activity, state))

    def subset(self, pixels: Tensor | slice) -> BlockTerms:
        """These terms recorded by some pixels alone."""
        spectral = [self._spectral(i, torch.float32) for i in range(len(self.terms))]
        return BlockTerms(self.terms, spectral, self.corner[pixels], self.weight[pixels])

    def recording(self, spectral: Sequence[Tensor]) -> BlockTerms:
        """These terms on another energy axis."""
        return BlockTerms(self.terms, spectral, self.corner, self.weight)

    def _adjoint(self, values: Sequence[Tensor], state: tuple[Tensor, ...]) -> Tensor:
        images = [t.adjoint(v, kept) for t, v, kept in zip(self.terms, values, state, strict=True)]
        return torch.stack(images).sum(0)

    def _by_size(self, counts: Sequence[Tensor]) -> Tensor:
        """Counts of each term [batch, block, bin] as one table: terms on blocks of one size are added."""
        by_size: dict[int, Tensor] = {}
        for term, own in zip(self.terms, counts, strict=True):
            size = term.camera.pixel_count
            by_size[size] = by_size[size] + own if size in by_size else own
        return torch.cat(list(by_size.values()), dim=1)

    def _by_term(self, values: Tensor) -> list[Tensor]:
        """Values [batch, block, ...] of the blocks of each term."""
        own = dict(zip(self.sizes, values.split(self.sizes, dim=1), strict=True))
        return [own[term.camera.pixel_count] for term in self.terms]

    def _given(self, dtype: torch.dtype) -> Tensor:
        """Share of each block's counts that the pixels record, [block]."""
        weight = self.weight.to(dtype)
        return weight.new_zeros(self.blocks).index_add(0, self.corner.flatten(), weight.flatten())

    def _spectral(self, index: int, dtype: torch.dtype) -> Tensor:
        factor: Tensor = getattr(self, f"spectral_{index}")
        return factor.to(dtype)

    def _on_blocks(self, values: Tensor) -> Tensor:
        """Transpose of :meth:`spread`."""
        flat = values.movedim(0, 1).flatten(1)
        gathered: Tensor = self._matrix(values.dtype).transpose_times(flat).unflatten(1, (len(values), -1))
        return gathered.movedim(1, 0)

    def _matrix(self, dtype: torch.dtype) -> SparseMatrix:
        """:attr:`weight` as a matrix [pixel, block]."""
        made = self._spread
        if made is None or made.value.dtype != dtype or made.value.device != self.weight.device:
            row = torch.arange(len(self.corner) + 1, dtype=torch.int32, device=self.corner.device)
            column = self.corner.flatten().to(torch.int32)
            weight = self.weight.flatten().to(dtype)
            made = SparseMatrix(row * self.corner.shape[1], column, weight, self.blocks, at_once=ALL_AT_ONCE)
            self._spread = made
        return made


def block_sizes(terms: Sequence[ScatterTerm]) -> list[int]:
    """Numbers of blocks that terms have, as they come first."""
    return list(dict.fromkeys(term.camera.pixel_count for term in terms))


def corners_of(camera: Camera, terms: Sequence[ScatterTerm]) -> tuple[Tensor, Tensor]:
    """``corner`` and ``weight`` of :class:`BlockTerms`, all pixels looking all the time."""
    cameras = {term.camera.pixel_count: term.camera for term in reversed(terms)}
    sizes = block_sizes(terms)
    corners, weights = zip(*(block_corners(camera, cameras[size]) for size in sizes), strict=True)
    shifted = [corner + sum(sizes[:i]) for i, corner in enumerate(corners)]
    return torch.cat(shifted, dim=1), torch.cat(weights, dim=1)


def block_corners(camera: Camera, blocks: Camera) -> tuple[Tensor, Tensor]:
    """The four blocks [pixel, 4] between whose centres each pixel lies, and its fraction of their counts,
    [pixel, 4].

    Beyond the outermost centres of a panel, or of a part between septa, the outer blocks are continued
    evenly, which preserves the counts of every block.
    """
    fine, coarse = camera.spec.detector, blocks.spec.detector
    factor = fine.rows // coarse.rows
    parts = (camera.spec.collimator.septa and camera.spec.collimator.apertures) or (1, 1)
    low_row, next_row, share_row = _between(camera.pixel_row, factor, coarse.rows // parts[0])
    low_column, next_column, share_column = _between(camera.pixel_column, factor, coarse.columns // parts[1])
    first = camera.pixel_panel * coarse.rows * coarse.columns
    corner = torch.stack(
        [
            first + row * coarse.columns + column
            for row in (low_row, next_row)
            for column in (low_column, next_column)
        ],
        dim=1,
    )
    weight = torch.stack(
        [r * c for r in (1 - share_row, share_row) for c in (1 - share_column, share_column)], dim=1
    )
    return corner, weight / factor**2


def _between(index: Tensor, factor: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks before and behind each pixel along one axis, ``count`` in a row, and the share of the one
    behind."""
    first = index // (factor * count) * count
    place = ((index.to(torch.float64) + 0.5) / factor - 0.5 - first).clamp(0, count - 1)
    before = place.floor().clamp(max=max(count - 2, 0)).to(torch.int64)
    return first + before, first + (before + 1).clamp(max=count - 1), place - before


ScatterTermName = Literal["leakage", "object_scatter", "collimator_scatter"]
SCATTER_TERMS: tuple[ScatterTermName, ...] = get_args(ScatterTermName)


def recorded(term: ScatterTerm, response: SpectralResponse, reference_kev: Tensor) -> Tensor:
    """Counts per first interaction of a term, per photon per decay, [g, k, map, bin], for emission at the
    reference energies [g] of the interpolation.
    """
    if isinstance(term, Leakage):
        return response.leaked(reference_kev)
    return response.scattered(reference_kev, term.arrivals)


def block_terms(
    names: Sequence[ScatterTermName],
    camera: Camera,
    grid: VoxelGrid,
    reference_kev: Tensor,
    sharp_kev: float,
    projector: ProjectorFactory,
    sampling: ScatterSampling,
) -> list[ScatterTerm]:
    """The terms of these names, for emission at the reference energies.

    Raises:
        UserError: a term would lose a gradient that a tensor of the camera asks for.
    """
    for name in names:
        if name != "leakage":
            camera.check_fixed(f"scatter_terms with {name}")
    terms: list[ScatterTerm] = []
    if "leakage" in names:
        terms.append(Leakage(camera, grid, reference_kev, sharp_kev, projector))
    if "object_scatter" in names:
        terms.append(ObjectScatter(camera, grid, reference_kev, sampling))
    if "collimator_scatter" in names:
        terms.append(CollimatorScatter(camera, grid, reference_kev))
    return terms
