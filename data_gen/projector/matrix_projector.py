"""The projector as a cached sparse system matrix, with the object's attenuation as a factor per aperture and
voxel.

First interactions per decay [pixel, g, map] from activity in Bq per voxel, and the transpose. The matrix is
ray-traced once without object (Joseph's method, ``weights.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.cache import cache_folder
from data_gen.core.grid import VoxelGrid
from data_gen.core.parallel import told
from data_gen.materials.object_attenuation import checked_activity, density_by_tissue, tissue_attenuation
from data_gen.projector.columns import Columns
from data_gen.projector.kept import kept_blocks, matrices_of
from data_gen.projector.mirror_views import Views
from data_gen.projector.ray_casting import CasterFactory, RayCaster
from data_gen.projector.sampling import RaySampling
from data_gen.projector.sparse import COLUMNS_AT_ONCE, SparseMatrix
from data_gen.projector.symmetry import mirror_orbits
from data_gen.projector.transmission import ApertureTransmission


class MatrixProjector(nn.Module):
    """A projector as a sparse matrix for each energy, [pair of pixel and aperture, voxel].

    Attenuation in the object is a factor of (aperture, voxel), along the line from voxel centre to aperture
    centre, differentiable in density; the geometry of the camera is fixed. The smallest weights, at most
    ``drop_share`` of a row in all, are left out; :attr:`dropped` is how much that was. Where the camera is
    its own mirror image, only the apertures of one part are stored, and applied to mirror images of the
    activity. Where penetration blurs over many voxels, columns are coarser voxels: see :class:`Columns`.

    Args:
        camera: the camera.
        grid: voxels.
        energies_kev: reference energies [g].
        cache_dir: folder of cached matrices; None: see :func:`data_gen.core.cache.cache_folder`.
        sampling: numbers of rays.
        drop_share: fraction of each row's weight that may be left out.
        dtype: of the weights.
        caster: of the rays; by default those through apertures.

    Raises:
        UserError: a tensor of the camera asks for a gradient.
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
        caster: CasterFactory = RayCaster,
    ) -> None:
        super().__init__()
        camera.check_fixed("a stored system matrix")
        self.grid, self.pixels = grid, camera.pixel_count
        self.register_buffer("energies_kev", energies_kev.to(torch.float64), persistent=False)
        orbits = mirror_orbits(camera)
        folder = Path(cache_dir) if cache_dir else cache_folder()
        casters = [caster(camera, energy, sampling or RaySampling()) for energy in self.energies_kev.tolist()]
        self.columns = nn.ModuleList(Columns.of(grid, *caster.seen_mm) for caster in casters)
        for own, columns in zip(casters, self._columns, strict=True):
            own.choose_rays(columns.grid)
        kept = []
        with told("system matrices", len(casters)) as advance:
            for own, columns in zip(casters, self._columns, strict=True):
                kept.append(kept_blocks(own, orbits, columns.grid, drop_share, dtype, folder))
                advance()
        self.matrices = nn.ModuleList(
            matrices_of(k, len(orbits.aperture), columns.grid.voxels)
            for k, columns in zip(kept, self._columns, strict=True)
        )
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
        parts = [
            self._seen(self.views.mirrored(volumes[part]), attenuation, part, maps)
            for part in self._parts(batch * maps)
        ]
        first_interactions: Tensor = torch.cat(parts, dim=2).unflatten(2, (batch, maps))
        return first_interactions.movedim(2, 0)

    def adjoint(self, values: Tensor, attenuation: Tensor) -> Tensor:
        """Transpose of :meth:`forward`: [batch, pixel, g, map] to [batch, map, z, y, x]."""
        batch, _, _, maps = values.shape
        by_pixel = values.movedim(0, 2).flatten(2)
        parts = [
            self.views.unmirrored(
                self._back_project(by_pixel[..., part], attenuation, part, maps), self.grid.shape
            )
            for part in self._parts(batch * maps)
        ]
        image: Tensor = torch.cat(parts).unflatten(0, (batch, maps))
        return image

    def _seen(self, images: Tensor, attenuation: Tensor, part: slice, maps: int) -> Tensor:
        """First interactions [pixel, g, n] of mirror images [voxel, mirror, n]."""
        seen = []
        chosen = [self.views.chosen(images, block) for block in range(self.views.blocks)]
        for g, columns in enumerate(self._columns):
            rows = []
            for block, activity in enumerate(chosen):
                through = self._transmission(attenuation, g, block, part, maps)
                sent = columns.forward((activity * through).flatten(1))
                rows.append(self._matrix(g, block).times(sent).reshape(-1, images.shape[2]))
            seen.append(self.views.by_pixel(torch.cat(rows), self.pixels))
        return torch.stack(seen, dim=1)

    def _back_project(self, by_pixel: Tensor, attenuation: Tensor, part: slice, maps: int) -> Tensor:
        """Transpose of :meth:`_seen`: [pixel, g, n] to [voxel, mirror, n]."""
        total = by_pixel.new_zeros(self.grid.voxels, len(self.views.mirrors), by_pixel.shape[2])
        by_row = [self.views.by_row(values) for values in by_pixel.unbind(dim=1)]
        for block in range(self.views.blocks):
            sent = []
            for g, (rows, columns) in enumerate(zip(by_row, self._columns, strict=True)):
                back = columns.adjoint(self._matrix(g, block).transpose_times(rows[block]))
                back = back.unflatten(1, (self.views.columns, -1))
                sent.append(back * self._transmission(attenuation, g, block, part, maps))
            total = self.views.gathered(total, sum(sent[1:], sent[0]), block)
        return total

    def _parts(self, volumes: int) -> list[slice]:
        """Volumes a few at a time: as many dense columns as a product handles best."""
        step = max(1, COLUMNS_AT_ONCE // self.views.columns)
        return [slice(first, first + step) for first in range(0, volumes, step)]

    def _transmission(self, attenuation: Tensor, g: int, block: int, part: slice, maps: int) -> Tensor:
        """Transmission [voxel, column, n] to a block's apertures for volumes (batch * map) of ``part``."""
        volumes = range(len(attenuation) * maps)[part]
        scans = slice(volumes[0] // maps, volumes[-1] // maps + 1)
        seen = self.views.columns_of(attenuation[scans, g, self.views.orbits[block]], block)
        if len(seen) > 1:
            volume = torch.arange(volumes[0], volumes[-1] + 1, device=attenuation.device)
            seen = seen[volume // maps - scans.start]
        return seen.permute(1, 2, 0)  # of one scan, the same for all its volumes

    @property
    def _columns(self) -> list[Columns]:
        """The columns of each energy's matrix."""
        return [cast(Columns, columns) for columns in self.columns]

    def _matrix(self, g: int, block: int) -> SparseMatrix:
        """The matrix of one block at one energy; the rows of blocks follow each other."""
        return cast(SparseMatrix, cast(nn.ModuleList, self.matrices[g])[block])

    def subset(self, pixels: Tensor) -> MatrixProjector:
        """The same projector restricted to these pixels [k], in this order, and to the apertures they see."""
        views, sources = self.views.subset(pixels, self.pixels)
        other = MatrixProjector.__new__(MatrixProjector)
        nn.Module.__init__(other)
        other.grid, other.pixels, other.dropped = self.grid, len(pixels), self.dropped
        other.register_buffer("energies_kev", self.energies_kev, persistent=False)
        other.matrices = nn.ModuleList(
            nn.ModuleList(self._matrix(g, block).part(rows) for block, rows in sources)
            for g in range(len(self.energies_kev))
        )
        other.transmission, other.columns, other.views = self.transmission, self.columns, views
        return other
