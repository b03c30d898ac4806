"""The cached system matrix: rays cast once without an object, which then is a transmission to apertures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.grid import VoxelGrid
from data_gen.projector.cache import cache_folder, cached, content_key
from data_gen.projector.rays import RayCaster
from data_gen.projector.sampling import RaySampling
from data_gen.projector.sparse import SparseMatrix, transposed
from data_gen.projector.tissue import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.projector.weights import build_rows

CODE_VERSION = 3
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
        self.register_buffer("seen", None, persistent=False)
        folder = Path(cache_dir) if cache_dir else cache_folder()
        kept = [
            _kept(RayCaster(camera, energy, sampling or RaySampling()), grid, drop_share, dtype, folder)
            for energy in self.energies_kev.tolist()
        ]
        self.matrices = nn.ModuleList(_matrix(tensors, self.apertures * grid.voxels) for tensors in kept)
        self.dropped = [float(tensors["dropped"]) for tensors in kept]
        self.transmission = ApertureTransmission(
            camera.aperture_centre_mm, tissue_attenuation(self.energies_kev), grid
        )

    energies_kev: Tensor
    seen: Tensor | None
    """The camera's apertures that this subset of pixels sees, [aperture]; None for all."""

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
            sent = torch.einsum("bav,bmv->avbm", self._sent(attenuation, g), source)
            seen.append(matrix.times(sent.reshape(-1, batch * maps)).unflatten(1, (batch, maps)))
        return torch.stack(seen, dim=1).permute(2, 0, 1, 3)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""
        batch, _, _, maps = values.shape
        activity = values.new_zeros(batch, maps, self.grid.voxels)
        for g, matrix in enumerate(self._each()):
            column = values[:, :, g].permute(1, 0, 2).reshape(-1, batch * maps)
            sent = matrix.transpose_times(column).reshape(self.apertures, -1, batch, maps)
            activity = activity + torch.einsum("avbm,bav->bmv", sent, self._sent(attenuation, g))
        image: Tensor = activity.unflatten(2, self.grid.shape)
        return image

    def _sent(self, attenuation: Tensor, g: int) -> Tensor:
        """Transmission to the apertures of this projector at one energy, [batch, aperture, voxel]."""
        return attenuation[:, :, g] if self.seen is None else attenuation[:, self.seen, g]

    def _each(self) -> list[SparseMatrix]:
        return [cast(SparseMatrix, matrix) for matrix in self.matrices]

    def subset(self, pixels: Tensor) -> MatrixProjector:
        """The same projector restricted to these pixels [k], in this order, and to the apertures they see."""
        voxels = self.grid.voxels
        touched = torch.cat([matrix.touched(pixels, voxels) for matrix in self._each()])
        # Pixels that see nothing keep one aperture: a product needs columns.
        seen = touched.unique() if len(touched) else touched.new_zeros(1)
        other = MatrixProjector.__new__(MatrixProjector)
        nn.Module.__init__(other)
        other.grid, other.apertures, other.dropped = self.grid, len(seen), self.dropped
        other.register_buffer("seen", seen if self.seen is None else self.seen[seen], persistent=False)
        other.pixels = len(pixels)
        other.register_buffer("energies_kev", self.energies_kev, persistent=False)
        other.matrices = nn.ModuleList(matrix.select(pixels, seen, voxels) for matrix in self._each())
        other.transmission = self.transmission
        return other


def _kept(
    caster: RayCaster, grid: VoxelGrid, drop_share: float, dtype: torch.dtype, folder: Path
) -> dict[str, Tensor]:
    """The tensors of the matrix at one energy, from the folder if they are there."""
    camera = caster.camera
    columns = camera.aperture_count * grid.voxels

    def build() -> dict[str, Tensor]:
        rows = build_rows(caster, grid, drop_share, dtype)
        there = (rows.start, rows.column, rows.value)
        parts = (*there, *transposed(*there, columns))
        return dict(zip(_PARTS, parts, strict=True)) | {"dropped": torch.tensor(rows.dropped)}

    numbers = {
        "version": CODE_VERSION,
        "grid": grid.to_dict(),
        "sampling": asdict(caster.sampling),
        "drop_share": drop_share,
        "dtype": str(dtype),
        "attenuation": [caster.plate_mu, caster.detector_mu],
        "camera": [camera.pitch_mm, camera.plate_mm, camera.detector_thickness_mm, camera.shape],
    }
    tensors = {name: value for name, value in vars(camera).items() if isinstance(value, Tensor)}
    return cached(folder, content_key(numbers, tensors), build)


def _matrix(kept: dict[str, Tensor], columns: int) -> SparseMatrix:
    there = [kept[name] for name in _PARTS]
    return SparseMatrix(there[0], there[1], there[2], columns, (there[3], there[4], there[5]))
