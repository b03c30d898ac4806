"""The cached system matrix: rays cast once without an object, which then is a transmission to apertures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.projector.cache import as_number, cache_folder, cached, content_key
from data_gen.projector.rays import RayCaster
from data_gen.projector.sampling import RaySampling
from data_gen.projector.sparse import SparseMatrix, transposed
from data_gen.projector.tissue import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.projector.weights import build_rows

CODE_VERSION = 1
"""Raised whenever the numbers in the matrix change, so that kept ones are built again."""

_PARTS = ("start", "column", "value", "start_t", "column_t", "value_t")


class MatrixProjector(nn.Module):
    """A projector as a sparse matrix for each energy, [pixel, aperture * voxel].

    Attenuation in the object is a factor of (aperture, voxel) from voxel centre to aperture centre,
    differentiable in density; the geometry of the camera is fixed. Weights that together hold at most
    ``drop_share`` of a row are left out; :attr:`dropped` says how much that was.

    Args:
        camera: the camera.
        grid: voxels.
        energies_kev: reference energies [g].
        cache_dir: folder of kept matrices; None: see :func:`data_gen.projector.cache.cache_folder`.
        sampling: numbers of rays.
        drop_share: of each row's weight.
        dtype: of the weights.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        cache_dir: str | Path | None = None,
        sampling: RaySampling | None = None,
        drop_share: float = 1e-3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.grid, self.pixels = grid, camera.pixel_count
        self.register_buffer("energies_kev", energies_kev.to(torch.float64), persistent=False)
        self.apertures = camera.aperture_count
        caster = RayCaster(camera, self.energies_kev, sampling or RaySampling())
        key = _key(caster, grid, drop_share, dtype)

        def make() -> dict[str, Tensor]:
            return _build(caster, grid, drop_share, dtype)

        kept = cached(Path(cache_dir) if cache_dir else cache_folder(), key, make)
        self.matrices = nn.ModuleList(
            _matrix(kept, g, self.apertures * grid.voxels) for g in range(len(self.energies_kev))
        )
        self.dropped = [float(kept[f"{g}.dropped"]) for g in range(len(self.energies_kev))]
        self.transmission = ApertureTransmission(
            camera.aperture_centre_mm, tissue_attenuation(self.energies_kev), grid
        )

    energies_kev: Tensor

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Transmission [batch, aperture, g, voxel] of an object; see ``Projector.attenuation``."""
        transmission: Tensor = self.transmission(density_by_tissue(density, material, self.grid))
        return transmission

    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        """First interactions a second [batch, pixel, g, map]; see ``Projector.forward``."""
        batch, maps = checked_activity(activity, self.grid).shape[:2]
        source = activity.flatten(2)
        seen = []
        for g, matrix in enumerate(self._each()):
            sent = torch.einsum("bav,bmv->avbm", attenuation[:, :, g], source)
            seen.append(matrix.times(sent.reshape(-1, batch * maps)).unflatten(1, (batch, maps)))
        return torch.stack(seen, dim=1).permute(2, 0, 1, 3)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""
        batch, _, _, maps = values.shape
        activity = values.new_zeros(batch, maps, self.grid.voxels)
        for g, matrix in enumerate(self._each()):
            column = values[:, :, g].permute(1, 0, 2).reshape(-1, batch * maps)
            sent = matrix.transpose_times(column).reshape(self.apertures, -1, batch, maps)
            activity = activity + torch.einsum("avbm,bav->bmv", sent, attenuation[:, :, g])
        return activity.unflatten(2, self.grid.shape)

    def _each(self) -> list[SparseMatrix]:
        return [cast(SparseMatrix, matrix) for matrix in self.matrices]

    def subset(self, pixels: Tensor) -> MatrixProjector:
        """The same projector restricted to these pixels [k], in this order."""
        other = MatrixProjector.__new__(MatrixProjector)
        nn.Module.__init__(other)
        other.grid, other.apertures, other.dropped = self.grid, self.apertures, self.dropped
        other.pixels = len(pixels)
        other.register_buffer("energies_kev", self.energies_kev, persistent=False)
        other.matrices = nn.ModuleList(matrix.select(pixels) for matrix in self._each())
        other.transmission = self.transmission
        return other


def _key(caster: RayCaster, grid: VoxelGrid, drop_share: float, dtype: torch.dtype) -> str:
    """Hash of everything that the matrix depends on."""
    camera = caster.camera
    tensors = {name: value for name, value in vars(camera).items() if isinstance(value, Tensor)}
    numbers = {
        "version": CODE_VERSION,
        "grid": grid.to_dict(),
        "sampling": asdict(caster.sampling),
        "drop_share": drop_share,
        "dtype": str(dtype),
        "camera": [camera.pitch_mm, camera.plate_mm, camera.detector_thickness_mm, camera.shape],
    }
    return content_key(numbers, {**tensors, "plate": caster.plate_mu, "detector": caster.detector_mu})


def _build(caster: RayCaster, grid: VoxelGrid, drop_share: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors that are kept: rows and their transpose at each energy."""
    columns = caster.camera.aperture_count * grid.voxels
    tensors: dict[str, Tensor] = {}
    for g, rows in enumerate(build_rows(caster, grid, drop_share, dtype)):
        there = (rows.start, rows.column, rows.value)
        parts = (*there, *transposed(*there, columns))
        tensors |= {f"{g}.{name}": part for name, part in zip(_PARTS, parts, strict=True)}
        tensors[f"{g}.dropped"] = as_number(rows.dropped)
    return tensors


def _matrix(kept: dict[str, Tensor], g: int, columns: int) -> SparseMatrix:
    there = [kept[f"{g}.{name}"] for name in _PARTS]
    return SparseMatrix(there[0], there[1], there[2], columns, (there[3], there[4], there[5]))
