"""A projector that applies the system matrix of a file, measured or computed; format in docs/matrices.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor, nn

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.files import sha256_of
from data_gen.core.grid import VoxelGrid
from data_gen.materials.object_attenuation import tissue_attenuation
from data_gen.projector.columns import Columns
from data_gen.projector.matrix_file import SystemMatrix, Unit, read_hdf5, read_npz
from data_gen.projector.matrix_projector import MatrixProjector
from data_gen.projector.mirror_views import Views
from data_gen.projector.projector import Projector, ProjectorFactory
from data_gen.projector.ray_casting import CasterFactory, RayCaster
from data_gen.projector.sampling import RaySampling
from data_gen.projector.sparse import SparseMatrix
from data_gen.projector.symmetry import MirrorOrbits
from data_gen.projector.transmission import ApertureTransmission

LEAST_RECORDED = 1e-3
"""Share of first interactions that a window has to record, so that counts tell how many there were."""

ENTRIES_AT_ONCE = 1 << 20
PIXELS_AT_ONCE = 64
"""Matrix entries, and pixels, processed together, which bounds the memory."""


class MeasuredMatrix(MatrixProjector):
    """The projector of a system matrix in air.

    The object attenuates as in :class:`MatrixProjector`, by the path from voxel centre to aperture centre.
    Each entry belongs to the aperture of its pixel that lies nearest to the line from voxel to pixel. An
    energy asked for gets the matrix of the nearest energy in the file, and its own attenuation in the object.

    Args:
        camera: whose pixels are the rows, and whose apertures the photons come through.
        grid: voxels.
        energies_kev: reference energies [g].
        content: the system matrix, in first interactions per photon.
        energy_tolerance: how far the nearest energy may be, relatively.
        dtype: number type of the weights.

    Raises:
        UserError: pixels, voxels or energies are not those asked for, or a tensor of the camera asks for a
        gradient.
    """

    def __init__(
        self,
        camera: Camera,
        grid: VoxelGrid,
        energies_kev: Tensor,
        content: SystemMatrix,
        energy_tolerance: float = 0.02,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        nn.Module.__init__(self)  # the weights are here, nothing is to be cast
        camera.check_fixed("a measured system matrix")
        _check_fit(content, camera, grid)
        self.grid, self.pixels = grid, camera.pixel_count
        self.register_buffer("energies_kev", energies_kev.to(torch.float64), persistent=False)
        which = _nearest(self.energies_kev, content.energies_kev, energy_tolerance)
        rows = {g: _by_aperture(content.matrices[g], camera, grid, dtype) for g in dict.fromkeys(which)}
        self.matrices = nn.ModuleList(rows[g] for g in which)
        self.columns = nn.ModuleList(Columns(grid, grid) for _ in which)
        self.dropped = [0.0] * len(which)
        self.transmission = ApertureTransmission(
            camera.aperture_centre_mm, tissue_attenuation(self.energies_kev), grid
        )
        self.views = Views.of(_single_apertures(camera), camera.pairs[:, 0])


@dataclass(frozen=True)
class MeasuredMatrixFile:
    """A file with a system matrix in air; ``docs/matrices.md`` describes it.

    Args:
        file: HDF5, which describes itself, or ``.npz`` of ``scipy.sparse.save_npz``, [pixel, voxel] at one
            energy on the grid of the model.
        energy_tolerance: how far an energy of the file may be from a reference energy of the model,
            relatively.
        energy_kev: photon energy of a matrix in an ``.npz``, which does not record it.
        unit: unit of the entries of an ``.npz``.
        window_kev: lowest and highest energy that an ``.npz`` counts, if its unit is counts.
        includes: leakage and scatter terms that an ``.npz`` holds already.
        sha256: of the file's content; None: whatever it is now.

    Raises:
        UserError: the file is missing, or is described too little or twice.
    """

    file: str
    energy_tolerance: float = 0.02
    energy_kev: float | None = None
    unit: Unit | None = None
    window_kev: tuple[float, float] | None = None
    includes: tuple[str, ...] = ()
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name in ("window_kev", "includes"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None else tuple(value))
        self._check_description()
        if self.sha256 is None:
            if not Path(self.file).is_file():
                raise UserError(f"file is {self.file}, which is no file; it needs a system matrix")
            object.__setattr__(self, "sha256", sha256_of(Path(self.file)))

    def _check_description(self) -> None:
        own = {"energy_kev": self.energy_kev, "unit": self.unit, "window_kev": self.window_kev}
        told = [name for name, value in own.items() if value is not None] + ["includes"] * bool(self.includes)
        if not self.energy_tolerance >= 0:
            raise UserError(f"energy_tolerance is {self.energy_tolerance}; it needs 0 or more")
        if Path(self.file).suffix != ".npz":
            if told:
                raise UserError(
                    f"{told[0]} is given for {self.file}; an HDF5 file says it itself, leave it out"
                )
            return
        if self.energy_kev is None or not self.energy_kev > 0:
            raise UserError(f"energy_kev is {self.energy_kev}; {self.file} needs the energy of its photons")
        if self.unit not in get_args(Unit):
            raise UserError(f"unit is {self.unit!r}; {self.file} needs one of {list(get_args(Unit))}")
        if (self.window_kev is None) == (self.unit == "counts per photon"):
            raise UserError(f"window_kev is {self.window_kev}; counts need one, and first interactions none")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the hash of the content included."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    def factory(self, sampling: RaySampling, counted: Sequence[str]) -> ProjectorFactory:
        """What builds the projectors of a model.

        Photons through plate and septa, whose rays have a caster of their own, are no part of the matrix.

        Args:
            sampling: of such rays.
            counted: leakage and scatter terms that the model adds.
        """

        def build(
            camera: Camera, grid: VoxelGrid, energies_kev: Tensor, *, caster: CasterFactory = RayCaster
        ) -> Projector:
            if caster is not RayCaster:
                return MatrixProjector(camera, grid, energies_kev, sampling=sampling, caster=caster)
            content = self.read(camera, grid)
            twice = [name for name in content.includes if name in counted]
            if twice:
                raise UserError(
                    f"{self.file} includes {twice[0]}, which scatter_terms adds again; leave it out there"
                )
            return MeasuredMatrix(camera, grid, energies_kev, content, self.energy_tolerance)

        return build

    def read(self, camera: Camera, grid: VoxelGrid) -> SystemMatrix:
        """The content in first interactions per photon.

        Args:
            camera: whose response says which share of first interactions a window counts.
            grid: voxels of an ``.npz``.

        Raises:
            UserError: the file is missing, changed or wrong.
        """
        path = Path(self.file)
        if not path.is_file():
            raise UserError(
                f"projector.file is {path}, which is no file; it needs the system matrix of this model"
            )
        if sha256_of(path) != self.sha256:
            raise UserError(f"{path} is not the matrix that this model was made with; its hash differs")
        content = self._described(path, grid) if path.suffix == ".npz" else read_hdf5(path)
        return _first_interactions(content, camera, path)

    def _described(self, path: Path, grid: VoxelGrid) -> SystemMatrix:
        """The matrix of an ``.npz`` with what the other keys say of it."""
        assert self.energy_kev is not None
        assert self.unit is not None
        window = None if self.window_kev is None else torch.tensor([self.window_kev], dtype=torch.float64)
        energy = torch.tensor([self.energy_kev], dtype=torch.float64)
        return SystemMatrix(energy, grid, (read_npz(path, grid),), self.unit, window, self.includes)


def export_matrix(projector: Projector, path: str | Path) -> SystemMatrix:
    """Write a projector's system matrix in air, for :class:`MeasuredMatrixFile` and for other programs.

    Args:
        projector: any, ``model.projector`` of a forward model for instance; of float32 weights.
        path: path of the HDF5 file.

    Returns:
        What was written.
    """
    energies, grid = projector.energies_kev, projector.grid
    blocks: list[list[csr_array]] = [[] for _ in energies]
    with torch.no_grad():
        for pixels in torch.arange(projector.pixels).split(PIXELS_AT_ONCE):
            part = projector.subset(pixels)
            air = part.attenuation(torch.zeros(1, *grid.shape))
            for g, found in enumerate(blocks):
                # One map for each pixel: what that pixel alone sends back is its row.
                values = torch.zeros(1, len(pixels), len(energies), len(pixels))
                values[0, :, g] = torch.eye(len(pixels))
                found.append(csr_array(part.adjoint(values, air)[0].flatten(1).numpy()))
    matrices = tuple(csr_array(vstack(found, format="csr")) for found in blocks)
    content = SystemMatrix(energies.detach().cpu(), grid, matrices)
    content.write(path)
    return content


def _check_fit(content: SystemMatrix, camera: Camera, grid: VoxelGrid) -> None:
    """Refuse a matrix of another camera or grid."""
    pixels, voxels = content.matrices[0].shape
    if content.grid != grid:
        raise UserError(
            f"system matrix has voxels {list(content.grid.shape)} of {list(content.grid.spacing_mm)} mm; "
            f"the model needs {list(grid.shape)} of {list(grid.spacing_mm)} mm"
        )
    if (pixels, voxels) != (camera.pixel_count, grid.voxels):
        raise UserError(
            f"system matrix has shape [{pixels}, {voxels}]; camera {camera.name} and grid need "
            f"[{camera.pixel_count}, {grid.voxels}]"
        )


def _nearest(asked_kev: Tensor, there_kev: Tensor, tolerance: float) -> list[int]:
    """Which energy of the file stands for each energy asked for."""
    away = (there_kev / asked_kev[:, None]).log().abs()
    missing = asked_kev[away.amin(dim=1).expm1() > tolerance]
    if len(missing):
        listed, have = (", ".join(f"{e:g}" for e in part.tolist()) for part in (missing, there_kev))
        raise UserError(
            f"system matrix has energies {have} keV; the model needs {listed} keV too, within "
            f"{100 * tolerance:g} % (fewer by model.reference_energies, farther by energy_tolerance)"
        )
    nearest: list[int] = away.argmin(dim=1).tolist()
    return nearest


def _first_interactions(content: SystemMatrix, camera: Camera, path: Path) -> SystemMatrix:
    """Counts in a window as first interactions: by the share of these that the detector's response records
    there, in any pixel."""
    if content.window_kev is None:
        return content
    matrices = []
    for matrix, energy, window in zip(
        content.matrices, content.energies_kev, content.window_kev, strict=True
    ):
        if not bool(0 <= window[0] < window[1]):
            raise UserError(f"{path} has window_kev {window.tolist()}; it needs the lower energy first")
        recorded = float(camera.response.kernel(energy[None], window).sum())
        if recorded < LEAST_RECORDED:
            raise UserError(
                f"{path} has window_kev {window.tolist()} at {float(energy):g} keV, where the camera records "
                f"{recorded:.1g} of the photons; it needs a window around their peak"
            )
        matrices.append(csr_array(matrix / recorded))
    return SystemMatrix(content.energies_kev, content.grid, tuple(matrices), includes=content.includes)


def _single_apertures(camera: Camera) -> MirrorOrbits:
    """Every aperture by itself: rows are pairs of pixel and aperture, sorted by aperture."""
    first_pair = camera.pairs[:, 1].argsort(stable=True)
    return MirrorOrbits(
        mirrors=((),),
        aperture=torch.arange(camera.aperture_count)[:, None],
        first_pair=first_pair,
        row=first_pair.argsort(),
        mirror=torch.zeros(len(first_pair), dtype=torch.int64),
        orbit=camera.pairs[first_pair, 1],
    )


def _by_aperture(matrix: csr_array, camera: Camera, grid: VoxelGrid, dtype: torch.dtype) -> nn.ModuleList:
    """The rows [pixel, voxel] as a matrix [pair, voxel] for each aperture."""
    entries = matrix.tocoo()
    pixel, voxel = (torch.from_numpy(index).to(torch.int64) for index in entries.coords)
    pair = torch.cat(
        [
            _pair_of(camera, grid, *part)
            for part in zip(pixel.split(ENTRIES_AT_ONCE), voxel.split(ENTRIES_AT_ONCE), strict=True)
        ]
    )
    whole = csr_array((entries.data, (pair.numpy(), voxel.numpy())), shape=(len(camera.pairs), grid.voxels))
    matrices = nn.ModuleList()
    for aperture in range(camera.aperture_count):
        own = whole[(camera.pairs[:, 1] == aperture).nonzero()[:, 0].numpy()]
        start, column = (torch.from_numpy(index).to(torch.int32) for index in (own.indptr, own.indices))
        value = torch.from_numpy(own.data).to(dtype)
        matrices.append(SparseMatrix(start, column, value, grid.voxels))
    return matrices


def _pair_of(camera: Camera, grid: VoxelGrid, pixel: Tensor, voxel: Tensor) -> Tensor:
    """The pair of pixel and aperture that each entry goes through, [entry]."""
    count = torch.bincount(camera.pairs[:, 0], minlength=camera.pixel_count)
    first = count.cumsum(0) - count
    if int(count.max()) == 1:
        return first[pixel]
    centre = camera.pixel_centre_mm[pixel]
    way = nn.functional.normalize(grid.centres_mm().reshape(-1, 3)[voxel] - centre, dim=1)
    nearest = torch.full((len(pixel),), torch.inf, dtype=torch.float64)
    chosen = first[pixel]
    for k in range(int(count.max())):
        pair = (first[pixel] + k).clamp_max(len(camera.pairs) - 1)
        to_aperture = camera.aperture_centre_mm[camera.pairs[pair, 1]] - centre
        distance = torch.linalg.cross(to_aperture, way).norm(dim=1)
        nearer = (k < count[pixel]) & (distance < nearest)
        nearest, chosen = torch.where(nearer, distance, nearest), torch.where(nearer, pair, chosen)
    return chosen
