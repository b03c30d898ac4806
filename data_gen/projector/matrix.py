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
from data_gen.projector.sparse import COLUMNS_AT_ONCE, SparseMatrix, transposed
from data_gen.projector.symmetry import MirrorOrbits, mirror_orbits
from data_gen.projector.tissue import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.transmission import ApertureTransmission
from data_gen.projector.views import Views
from data_gen.projector.weights import build_rows

CODE_VERSION = 4
"""Raised whenever the numbers in the matrix change, so that kept ones are built again."""

_PARTS = ("start", "column", "value", "start_t", "column_t", "value_t")


class MatrixProjector(nn.Module):
    """A projector as a sparse matrix for each energy, [pair of pixel and aperture, voxel].

    Attenuation in the object is a factor of (aperture, voxel) from voxel centre to aperture centre,
    differentiable in density; the geometry of the camera is fixed. Weights that together hold at most
    ``drop_share`` of a row are left out; :attr:`dropped` says how much that was. Where the camera is its own
    mirror image, only the apertures of one part are stored, and applied to mirror images of the activity.

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
        orbits = mirror_orbits(camera)
        folder = Path(cache_dir) if cache_dir else cache_folder()
        kept = [
            _kept(
                RayCaster(camera, energy, sampling or RaySampling()), orbits, grid, drop_share, dtype, folder
            )
            for energy in self.energies_kev.tolist()
        ]
        columns = len(orbits.aperture) * grid.voxels
        self.matrices = nn.ModuleList(_matrix(tensors, columns) for tensors in kept)
        self.dropped = [float(tensors["dropped"]) for tensors in kept]
        first_apertures = camera.aperture_centre_mm[orbits.aperture[:, 0]]
        self.transmission = ApertureTransmission(first_apertures, tissue_attenuation(self.energies_kev), grid)
        self.views = Views.of(orbits, camera.pairs[:, 0])

    energies_kev: Tensor

    def attenuation(self, density: Tensor, material: Tensor | None = None) -> Tensor:
        """Transmission [batch, g, orbit, voxel, mirror] of an object; see ``Projector.attenuation``."""
        tissues = density_by_tissue(density, material, self.grid)
        transmission: Tensor = self.transmission(tissues, self.views.mirrors)
        return transmission

    def forward(self, activity: Tensor, attenuation: Tensor) -> Tensor:
        """First interactions a second [batch, pixel, g, map]; see ``Projector.forward``."""
        batch, maps = checked_activity(activity, self.grid).shape[:2]
        volumes = activity.flatten(0, 1)
        parts = []
        for part in self._parts(batch * maps):
            source = self.views.mirrored(volumes[part])
            seen = []
            for g, matrix in enumerate(self._each()):
                sent = source * self._transmission(attenuation, g, part, maps)
                by_row = matrix.times(sent.reshape(matrix.columns, -1))
                seen.append(self.views.by_pixel(by_row.reshape(-1, volumes[part].shape[0]), self.pixels))
            parts.append(torch.stack(seen, dim=1))
        first_interactions: Tensor = torch.cat(parts, dim=2).unflatten(2, (batch, maps))
        return first_interactions.movedim(2, 0)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""
        batch, _, _, maps = values.shape
        by_pixel = values.movedim(0, 2).flatten(2)
        parts = []
        for part in self._parts(batch * maps):
            total = by_pixel.new_zeros(())
            for g, matrix in enumerate(self._each()):
                by_row = self.views.by_row(by_pixel[:, g, part])
                back = matrix.transpose_times(by_row.reshape(matrix.rows, -1))
                sent = back.reshape(-1, self.grid.voxels, self.views.columns, by_row.shape[1])
                total = total + self.views.summed(sent * self._transmission(attenuation, g, part, maps))
            parts.append(self.views.unmirrored(total, self.grid.shape))
        image: Tensor = torch.cat(parts).unflatten(0, (batch, maps))
        return image

    def _parts(self, volumes: int) -> list[slice]:
        """Volumes a few at a time: as many dense columns as a product handles best."""
        step = max(1, COLUMNS_AT_ONCE // self.views.columns)
        return [slice(first, first + step) for first in range(0, volumes, step)]

    def _transmission(self, attenuation: Tensor, g: int, part: slice, maps: int) -> Tensor:
        """Transmission for volumes (batch * map), as :meth:`Views.transmission` gives it."""
        if part.stop - part.start == 1:
            scan = part.start // maps
            return self.views.transmission(attenuation[scan : scan + 1, g])
        volume = torch.arange(len(attenuation) * maps, device=attenuation.device)[part]
        return self.views.transmission(attenuation[volume // maps, g])

    def _each(self) -> list[SparseMatrix]:
        return [cast(SparseMatrix, matrix) for matrix in self.matrices]

    def subset(self, pixels: Tensor) -> MatrixProjector:
        """The same projector restricted to these pixels [k], in this order, and to the apertures they see."""
        views, rows, block = self.views.subset(pixels, self.pixels)
        other = MatrixProjector.__new__(MatrixProjector)
        nn.Module.__init__(other)
        other.grid, other.pixels, other.dropped = self.grid, len(pixels), self.dropped
        other.register_buffer("energies_kev", self.energies_kev, persistent=False)
        other.matrices = nn.ModuleList(
            matrix.select(rows, block, views.blocks, self.grid.voxels) for matrix in self._each()
        )
        other.transmission, other.views = self.transmission, views
        return other


def _kept(
    caster: RayCaster,
    orbits: MirrorOrbits,
    grid: VoxelGrid,
    drop_share: float,
    dtype: torch.dtype,
    folder: Path,
) -> dict[str, Tensor]:
    """The tensors of the matrix at one energy, from the folder if they are there."""
    camera = caster.camera
    columns = len(orbits.aperture) * grid.voxels

    def build() -> dict[str, Tensor]:
        rows = build_rows(caster, camera.pairs[orbits.first_pair], orbits.orbit, grid, drop_share, dtype)
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
