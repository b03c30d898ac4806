"""Transmission of the object on the line from each voxel to each aperture: exp(-integral of mu).

From density by tissue in g/cm3 and mass attenuation in 1/mm per g/cm3; dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.autograd import in_full_precision, linear, recomputed
from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.projector.sparse import csr, transposed

_Weights = tuple[Tensor, Tensor, Tensor]
"""Rows of a CSR matrix, [line, voxel] in mm along one axis: start, column, value."""

MOST_KEPT_BYTES = 2**26
"""Memory that the weights of all lines may take, which else are found anew for each object."""


class ApertureTransmission(nn.Module):
    """exp(-path of mu) from voxel centres to aperture centres.

    A line is cut where it passes from one plane of voxels to the next; the density in a piece is that at its
    middle, linear between the centres of the plane's voxels and 0 outside the grid (Joseph, IEEE Trans. Med.
    Imaging 1 (1982) 192). Paths are traced from every ``stride``-th voxel and interpolated, since they change
    slowly.

    Args:
        aperture_mm: aperture centres (x, y, z), [aperture, 3].
        mass_attenuation: of each tissue at each energy [tissue, g], 1/mm per g/cm3.
        grid: voxels.
        stride: voxels between traced ones.

    Raises:
        UserError: an aperture lies inside the grid.
    """

    def __init__(
        self, aperture_mm: Tensor, mass_attenuation: Tensor, grid: VoxelGrid, stride: int = 2
    ) -> None:
        super().__init__()
        self.grid = grid
        traced = [_traced_mm(grid, axis, stride) for axis in range(3)]
        positions = aperture_mm.detach().double().cpu().flip(1).tolist()
        self.lines = nn.ModuleList(_Lines(position, grid, traced) for position in positions)
        self.entries = sum(lines.entries for lines in self.lines)
        self.register_buffer("mass_attenuation", mass_attenuation, persistent=False)
        self._kept: dict[tuple[int, torch.dtype], list[_Weights]] = {}

    mass_attenuation: Tensor

    def forward(self, tissue_density: Tensor, mirrors: tuple[tuple[int, ...], ...] = ((),)) -> Tensor:
        """Transmission to each aperture, and through the mirrored object to each aperture.

        Args:
            tissue_density: density by tissue [batch, tissue, z, y, x] in g/cm3.
            mirrors: axes to flip, for each mirror image of the object.

        Returns:
            [batch, g, aperture, voxel, mirror].
        """
        mirrored = torch.stack([tissue_density.flip(axes) for axes in mirrors])
        present = _present(mirrored)
        apertures = range(len(self.lines))
        if torch.is_grad_enabled() and mirrored.requires_grad:
            # Recomputed in the backward pass rather than stored.
            traced = [recomputed(self._one, mirrored, present, a, needed=True) for a in apertures]
            return torch.stack(traced, dim=2)
        energies = self.mass_attenuation.shape[1]
        shape = (len(tissue_density), energies, len(apertures), self.grid.voxels, len(mirrors))
        transmission = mirrored.new_empty(shape)
        for aperture in apertures:
            transmission[:, :, aperture] = self._one(mirrored, present, aperture)
        return transmission

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ApertureTransmission:
        """Move or convert everything; kept weights lie in the old place."""
        self._kept.clear()
        moved: ApertureTransmission = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def _one(self, mirrored: Tensor, present: list[int], aperture: int) -> Tensor:
        """Transmission to one aperture through the tissues that are present, [batch, g, voxel, mirror]."""
        images = mirrored.shape[:2]
        traced = self._paths(mirrored[:, :, present].flatten(0, 2), aperture)
        path = traced.reshape(-1, len(present), *traced.shape[1:])
        per_density = self.mass_attenuation[present].to(path.dtype)
        if per_density.shape[1] > len(present):  # fewer volumes are interpolated: tissues or energies
            attenuation = torch.einsum("itzyx,tg->igzyx", self._between_traced(path), per_density)
        else:
            attenuation = self._between_traced(torch.einsum("itzyx,tg->igzyx", path, per_density))
        transmission: Tensor = torch.exp(-attenuation).flatten(2).unflatten(0, images).movedim(0, -1)
        return transmission

    def _between_traced(self, volumes: Tensor) -> Tensor:
        """Volumes [image, k, z, y, x] over traced voxels, interpolated to all voxels."""
        if volumes.shape[2:] == self.grid.shape:
            return volumes
        return functional.interpolate(volumes, size=self.grid.shape, mode="trilinear", align_corners=True)

    @in_full_precision
    def _paths(self, volumes: Tensor, aperture: int) -> Tensor:
        """Integrals of volumes [volume, z, y, x] from traced voxels to an aperture: their unit times mm."""
        lines = self.lines[aperture]
        assert isinstance(lines, _Lines)
        table = volumes.flatten(1).T.contiguous()
        weights = self._weights(lines, aperture, table)
        summed = linear(
            lambda density: torch.cat([csr(*part, len(density)) @ density for part in weights()]),
            lambda gradient: _transpose_product(weights(), gradient, len(table)),
            table,
        )
        return lines.in_order(summed)

    def _weights(self, lines: _Lines, aperture: int, like: Tensor) -> Callable[[], Iterable[_Weights]]:
        """Gives the weights of the lines to one aperture, kept if those to all of them fit into memory."""
        if self.entries * (4 + like.element_size()) > MOST_KEPT_BYTES:
            return lambda: lines.weights(like)
        key = aperture, like.dtype
        if key not in self._kept:
            self._kept[key] = list(lines.weights(like))
        return lambda: self._kept[key]


class _Lines(nn.Module):
    """Lines from traced voxels to an aperture, as weights of voxels.

    Axes are numbered as those of a volume: 0 z, 1 y, 2 x. Planes stand across the axis along which the
    aperture lies farthest outside the grid; rows and columns lie in a plane, along the other two.

    Args:
        aperture_mm: centre of the aperture (z, y, x).
        grid: voxels.
        traced_mm: traced voxels along each axis.

    Raises:
        UserError: the aperture lies inside the grid.
    """

    def __init__(self, aperture_mm: list[float], grid: VoxelGrid, traced_mm: Sequence[Tensor]) -> None:
        super().__init__()
        self.grid = grid
        self.axis = axis = _axis_outside(aperture_mm, grid)
        self.across = tuple(other for other in range(3) if other != axis)
        self.aperture_mm = aperture_mm
        towards = math.copysign(1.0, aperture_mm[axis])
        from_mm, step_mm = towards * traced_mm[axis], grid.spacing_mm[axis]
        end_mm = towards * grid.axis_mm(axis) + step_mm / 2  # faces of the planes, on the aperture's side
        length = (end_mm - from_mm[:, None]).clamp(0.0, step_mm)
        way_mm = (abs(aperture_mm[axis]) - from_mm)[:, None]
        slope = [(aperture_mm[other] - traced_mm[other]) / way_mm for other in self.across]
        slant = (1 + slope[0].square()[:, :, None] + slope[1].square()[:, None]).sqrt()
        self.length_mm = nn.Buffer(length, persistent=False)
        self.share = nn.Buffer((end_mm - length / 2 - from_mm[:, None]) / way_mm, persistent=False)
        self.slant = nn.Buffer(slant, persistent=False)
        self.row_mm = nn.Buffer(traced_mm[self.across[0]], persistent=False)
        self.column_mm = nn.Buffer(traced_mm[self.across[1]], persistent=False)
        self.entries = 4 * int((length > 0).sum()) * len(self.row_mm) * len(self.column_mm)

    length_mm: Tensor
    """Of the pieces in each plane, along the axis, [traced plane, plane]; 0 behind the voxel."""
    share: Tensor
    """Of the way to the aperture, at the middle of these pieces, [traced plane, plane]."""
    slant: Tensor
    """Length of a line for each mm along the axis, [traced plane, row, column]."""
    row_mm: Tensor
    """Traced voxels along the rows' axis."""
    column_mm: Tensor
    """Traced voxels along the columns' axis."""

    def weights(self, like: Tensor) -> Iterator[_Weights]:
        """Weights of the voxels [line, voxel], in mm along the axis, for the lines of each traced plane.

        Args:
            like: has the type of the weights.
        """
        strides = (self.grid.shape[1] * self.grid.shape[2], self.grid.shape[2], 1)
        row, column = self.across
        for length_mm, share in zip(self.length_mm, self.share, strict=True):
            plane = length_mm.nonzero()[:, 0]
            rows, by_row = self._beside(self.row_mm, share[plane], row, like)
            columns, by_column = self._beside(self.column_mm, share[plane], column, like)
            # [row, column, voxel beside along rows, along columns, plane]
            voxel = (strides[row] * rows)[:, None, :, None] + (strides[column] * columns)[:, None]
            voxel += strides[self.axis] * plane.to(torch.int32)
            length = (by_row * length_mm[plane].to(like.dtype))[:, None, :, None] * by_column[:, None]
            each = 4 * len(plane)
            start = torch.arange(0, voxel.numel() + 1, each, dtype=torch.int32, device=voxel.device)
            yield start, voxel.flatten(), length.flatten()

    def _beside(self, traced_mm: Tensor, share: Tensor, axis: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels beside lines along an axis across, and their shares, [traced, 2, plane]."""
        voxels, spacing = self.grid.shape[axis], self.grid.spacing_mm[axis]
        reached_mm = traced_mm[:, None] + (self.aperture_mm[axis] - traced_mm[:, None]) * share
        place = reached_mm / spacing + (voxels - 1) / 2
        below = place.floor()
        voxel = torch.stack((below, below + 1), dim=1)
        by_nearness = 1 - (place[:, None] - voxel).abs()
        inside = (voxel >= 0) & (voxel < voxels)
        return voxel.clamp(0, voxels - 1).to(torch.int32), (by_nearness * inside).to(like.dtype)

    def in_order(self, summed: Tensor) -> Tensor:
        """Sums [line, volume] as volumes [volume, z, y, x] over the traced voxels, in mm on the line."""
        paths = summed.unflatten(0, self.slant.shape) * self.slant.to(summed.dtype)[..., None]
        return paths.movedim(0, self.axis).movedim(-1, 0)


def _transpose_product(weights: Iterable[_Weights], gradient: Tensor, voxels: int) -> Tensor:
    """The product of the transposed weights with [line, k]: [voxel, k]."""
    total, first = gradient.new_zeros(voxels, gradient.shape[1]), 0
    for part in weights:
        lines = len(part[0]) - 1
        total += csr(*transposed(*part, voxels), lines) @ gradient[first : first + lines].contiguous()
        first += lines
    return total


def _traced_mm(grid: VoxelGrid, axis: int, stride: int) -> Tensor:
    """Traced voxels along an axis of the grid: the first, the last, and evenly between them, in mm."""
    centre = grid.axis_mm(axis)
    traced = math.ceil((len(centre) - 1) / stride) + 1
    return torch.linspace(float(centre[0]), float(centre[-1]), traced, dtype=torch.float64)


def _axis_outside(aperture_mm: list[float], grid: VoxelGrid) -> int:
    """The axis (0 z, 1 y, 2 x) along which an aperture at (z, y, x) lies farthest outside the grid.

    Raises:
        UserError: the aperture lies inside the grid.
    """
    outside = [abs(p) / (extent / 2) for p, extent in zip(aperture_mm, grid.extent_mm, strict=True)]
    axis = max(range(3), key=outside.__getitem__)
    if outside[axis] <= 1:
        place = ", ".join(f"{p:.4g}" for p in reversed(aperture_mm))
        extent = " x ".join(f"{edge:.4g}" for edge in reversed(grid.extent_mm))
        raise UserError(
            f"an aperture of the camera, at ({place}) mm, lies inside the grid of {extent} mm (x, y, z); "
            "the grid needs to end before the collimator"
        )
    return axis


def _present(mirrored: Tensor) -> list[int]:
    """Tissues that some object holds, one at least, of [mirror, batch, tissue, z, y, x]."""
    held = mirrored[0].detach().ne(0).any(dim=-1).any(dim=-1).any(dim=-1).any(dim=0)
    return held.nonzero()[:, 0].tolist() or [0]
