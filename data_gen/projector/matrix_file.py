"""System matrices in files: HDF5 with all that describes them, or one sparse matrix of scipy's ``.npz``.

``docs/matrices.md`` tells the format to people.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, load_npz
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.files import whole_file
from data_gen.core.foreign_files import check_archive
from data_gen.core.grid import VoxelGrid
from data_gen.core.hdf5 import tree_of
from data_gen.core.memory import check_memory

FORMAT, VERSION = "hspi system matrix", 1
"""Attributes ``format`` and ``version`` of the file."""

ORDER = "pixel: panel, row, column; voxel: z, y, x"
"""Attribute ``order``: what rows and columns count, last index fastest."""

MOST_ENERGIES = 64
"""Largest number of energies in a file; chosen, no source."""
COPIES = 2
"""Times that the content is in memory: as read, and as the weights of the projector."""

Unit = Literal["first interactions per photon", "counts per photon"]
"""Unit of the entries: for one photon emitted in the voxel at that energy, interactions in the detector
pixel, or counts recorded in a window of energies.
"""

_WHOLE = {
    "energies_kev": ("<f8", 1),
    "shape": ("<i8", 1),
    "window_kev": ("<f8", 2),
    "grid/shape": ("<i8", 1),
    "grid/spacing_mm": ("<f8", 1),
}
_MATRIX = {"start": ("<i8", 1), "column": ("<i4", 1), "value": ("<f4", 1)}
"""Data sets of the file, and those of each energy's group: type and number of axes."""


@dataclass(frozen=True)
class SystemMatrix:
    """What a camera sees of each voxel, in air: a sparse matrix [pixel, voxel] for each energy.

    Args:
        energies_kev: [g] float64, rising.
        grid: the voxels.
        matrices: float32 [pixel, voxel] each, rows and columns as :data:`ORDER` says.
        unit: unit of the entries.
        window_kev: lowest and highest energy counted, [g, 2], for counts; None for first interactions.
        includes: leakage and scatter terms of the forward model that the entries hold already.
    """

    energies_kev: Tensor
    grid: VoxelGrid
    matrices: tuple[csr_array, ...]
    unit: Unit = "first interactions per photon"
    window_kev: Tensor | None = None
    includes: tuple[str, ...] = ()

    def write(self, path: str | Path) -> None:
        """Write it as HDF5, whole or not at all."""
        with whole_file(Path(path)) as part, h5py.File(part, "w") as file:
            about = {"format": FORMAT, "version": VERSION, "unit": self.unit, "order": ORDER}
            file.attrs.update(about | {"includes": " ".join(self.includes)})
            file["energies_kev"] = self.energies_kev.numpy().astype("<f8")
            file["shape"] = np.array(self.matrices[0].shape, "<i8")
            file["grid/shape"] = np.array(self.grid.shape, "<i8")
            file["grid/spacing_mm"] = np.array(self.grid.spacing_mm, "<f8")
            if self.window_kev is not None:
                file["window_kev"] = self.window_kev.numpy().astype("<f8")
            for number, matrix in enumerate(self.matrices):
                parts = {"start": matrix.indptr, "column": matrix.indices, "value": matrix.data}
                for name, values in parts.items():
                    file[f"{number}/{name}"] = values.astype(_MATRIX[name][0])


def read_hdf5(path: Path) -> SystemMatrix:
    """The system matrix of an HDF5 file, every number checked.

    Sizes are compared with each other and with the memory before any data is read, and a file that points to
    other files is refused.

    Raises:
        UserError: the file is damaged, of another format, or holds what no system matrix does.
    """

    def wrong(what: str) -> UserError:
        return UserError(f"{path} {what}; it needs a system matrix as docs/matrices.md describes it")

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise wrong("is truncated or no HDF5 file") from error
    with file:
        found = tree_of(file, 8 + 4 * MOST_ENERGIES, wrong)
        data = {name: item for name, item in found.items() if item is not None}
        about = {name: file.attrs.get(name) for name in ("unit", "includes")}
        for name, value in {"format": FORMAT, "version": VERSION, "order": ORDER}.items():
            if file.attrs.get(name) != value:
                raise wrong(f"has {name} {file.attrs.get(name)!r} in place of {value!r}")
        if about["unit"] not in get_args(Unit):
            raise UserError(f"{path} has unit {about['unit']!r}; it needs one of {list(get_args(Unit))}")
        counts = about["unit"] == get_args(Unit)[1]
        check_memory(COPIES * _check_layout(data, counts, wrong), str(path))
        try:
            return _content(path, data, about)
        except OSError as error:
            raise wrong(f"cannot be read ({error})") from error


def _check_layout(data: Mapping[str, h5py.Dataset], counts: bool, wrong: Any) -> int:
    """Refuse other data sets, types, axes or sizes than those of the format; bytes of all of them."""
    energies = len(data["energies_kev"]) if "energies_kev" in data and data["energies_kev"].ndim == 1 else 0
    wanted = dict(_WHOLE) if counts else {k: v for k, v in _WHOLE.items() if k != "window_kev"}
    wanted |= {f"{g}/{name}": kind for g in range(energies) for name, kind in _MATRIX.items()}
    if set(data) != set(wanted) or not 1 <= energies <= MOST_ENERGIES:
        odd = sorted(set(data) ^ set(wanted))
        raise wrong(f"{'holds' if odd and odd[0] in data else 'lacks'} {odd[0] if odd else 'energies'}")
    size = 0
    for name, (kind, axes) in wanted.items():
        if data[name].dtype != np.dtype(kind) or data[name].ndim != axes:
            raise wrong(f"has {name} of type {data[name].dtype} and shape {data[name].shape}")
        size += data[name].size * data[name].dtype.itemsize
    lengths = {"shape": (2,), "grid/shape": (3,), "grid/spacing_mm": (3,), "window_kev": (energies, 2)}
    for name, shape in lengths.items():
        if name in data and data[name].shape != shape:
            raise wrong(f"has {name} of shape {data[name].shape}")
    return size


def _content(path: Path, data: Mapping[str, h5py.Dataset], about: Mapping[str, Any]) -> SystemMatrix:
    """The content of a file whose layout was checked."""
    pixels, voxels = (int(n) for n in data["shape"][:])
    grid = VoxelGrid(data["grid/shape"][:].tolist(), data["grid/spacing_mm"][:].tolist())
    if voxels != grid.voxels or pixels < 1:
        raise UserError(
            f"{path} has shape [{pixels}, {voxels}]; its grid {list(grid.shape)} needs [pixels, "
            f"{grid.voxels}]"
        )
    energies = torch.from_numpy(data["energies_kev"][:])
    if not bool(torch.isfinite(energies).all() and (energies > 0).all() and (energies.diff() > 0).all()):
        raise UserError(f"{path} has energies_kev {energies.tolist()}; it needs positive ones that rise")
    window = torch.from_numpy(data["window_kev"][:]) if "window_kev" in data else None
    matrices = []
    for g in range(len(energies)):
        parts = [data[f"{g}/{name}"] for name in ("value", "column", "start")]
        entries, rows = len(parts[0]), len(parts[2]) - 1
        if len(parts[1]) != entries or rows != pixels:
            raise UserError(
                f"{path} has {entries} values, {len(parts[1])} columns and {rows} rows in {g}; "
                f"it needs as many columns as values and {pixels} rows"
            )
        value, column, start = (part[:] for part in parts)
        matrices.append(_checked(path, value, column, start, (pixels, voxels)))
    includes = tuple(str(about["includes"] or "").split())
    return SystemMatrix(energies, grid, tuple(matrices), about["unit"], window, includes)


def read_npz(path: Path, grid: VoxelGrid) -> csr_array:
    """The matrix [pixel, voxel] that ``scipy.sparse.save_npz`` wrote, checked; its voxels are the grid's.

    Raises:
        UserError: the file is damaged or too large, or holds no such matrix.
    """
    try:
        check_archive(path)
        matrix = csr_array(load_npz(path))
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read ({error}); it needs a file of scipy.sparse.save_npz"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] != grid.voxels:
        raise UserError(f"{path} has shape {list(matrix.shape)}; the grid needs [pixels, {grid.voxels}]")
    return _checked(path, matrix.data, matrix.indices, matrix.indptr, matrix.shape)


def _checked(
    path: Path,
    value: NDArray[Any],
    column: NDArray[Any],
    start: NDArray[Any],
    shape: tuple[int, int],
) -> csr_array:
    """A matrix of float32 with rising columns in each row, after checking indices and values."""
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all() or (value < 0).any():
        raise UserError(f"{path} holds negative, NaN or infinite entries; it needs finite ones of 0 or more")
    if len(start) < 1 or start[0] != 0 or start[-1] != len(value) or (np.diff(start) < 0).any():
        raise UserError(
            f"{path} has row starts that do not rise from 0 to {len(value)}; it needs a CSR matrix"
        )
    if len(column) and (column.min() < 0 or column.max() >= shape[1]):
        raise UserError(f"{path} has columns beyond its {shape[1]} voxels; it needs 0 to {shape[1] - 1}")
    matrix = csr_array((value.astype(np.float32), column, start), shape=shape)
    matrix.sum_duplicates()
    return matrix
