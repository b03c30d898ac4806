"""Reader of HEXITEC spectra in HDF5 files written by odin-data: counts by pixel and energy bin."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from data_gen.core.errors import UserError
from data_gen.core.hdf5 import check_dataset
from data_gen.readout.spectra import MOST_BYTES, PixelSpectra, checked_spectra

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_IMAGES = ("summed_images", "processed_frames", "raw_frames")


def read_odin(path: Path | str) -> PixelSpectra:
    """The spectra of a module, or of modules read out as one image.

    ``pixel_spectra`` [row, column, bin] or [pixel, bin], float, may begin with an axis that counts the
    histograms written during a run, which are added; ``spectra_bins`` [bin] holds lower edges. An image
    (``summed_images``, ``processed_frames`` or ``raw_frames``, [..., row, column]) tells the rows and
    columns where ``pixel_spectra`` does not. Layout as written by the frame processor of
    github.com/stfc-aeg/hexitec-detector (HexitecHistogramPlugin.cpp, GenerateConfigFiles.py, archiver.py).

    Raises:
        UserError: no such file, a data set is missing, elsewhere, of another type or too large, or
            truncated or damaged content.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; it needs an HDF5 file of odin-data")
    try:
        with h5py.File(path, "r") as file:
            starts = _numbers(file, "spectra_bins", path)
            values = _numbers(file, "pixel_spectra", path)
            image = _image_shape(file, path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} is truncated or no HDF5 file; it needs one of odin-data") from error
    starts = starts.reshape(-1, starts.shape[-1])[0]
    return checked_spectra(_cube(values, image, path), starts, path)


def _cube(values: NDArray[np.float64], image: tuple[int, int] | None, path: Path) -> NDArray[np.float64]:
    """Counts [row, column, bin], added over the histograms written."""
    if image is None and values.ndim < 3:
        raise UserError(
            f"{path}: pixel_spectra is {values.shape}; without an image it needs [row, column, bin]"
        )
    rows, columns = image or values.shape[-3:-1]
    flat = values.ndim > 1 and values.shape[-2] == rows * columns
    if not flat and values.shape[-3:-1] != (rows, columns):
        raise UserError(f"{path}: pixel_spectra is {values.shape}; its images have {rows} x {columns} pixels")
    cube: NDArray[np.float64] = values.reshape(-1, rows, columns, values.shape[-1]).sum(0)
    return cube


def _image_shape(file: h5py.File, path: Path) -> tuple[int, int] | None:
    """Rows and columns of the first image in the file, none of whose data is read."""
    for name in _IMAGES:
        if name in file:
            shape = _dataset(file, name, path).shape
            if len(shape) > 1:
                return shape[-2], shape[-1]
    return None


def _numbers(file: h5py.File, name: str, path: Path) -> NDArray[np.float64]:
    """A data set as float64, after checking that reading it is safe."""
    data = _dataset(file, name, path)
    if data.dtype.kind not in "fu" or data.ndim < 1 or 0 in data.shape:
        raise UserError(f"{path}: {name} is {data.dtype} of shape {data.shape}; it needs numbers per bin")
    if math.prod(data.shape) * 8 > MOST_BYTES:
        raise UserError(f"{path}: {name} is of shape {data.shape}; it needs at most {MOST_BYTES} bytes")
    check_dataset(data, name, lambda what: UserError(f"{path} {what}; it needs a whole file of odin-data"))
    values: NDArray[np.float64] = data[()].astype(np.float64)
    return values


def _dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A data set that lies in this file and needs no foreign code to be read."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(
        file[name], h5py.Dataset
    ):
        raise UserError(f"{path} has no data set {name} of its own; it needs those that odin-data writes")
    data = file[name]
    plist = data.id.get_create_plist()
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if data.is_virtual or data.external or filters - _FILTERS:
        raise UserError(
            f"{path}: {name} lies in other files or behind a filter of its own; "
            "give the file that holds the numbers, uncompressed or with gzip"
        )
    return data
