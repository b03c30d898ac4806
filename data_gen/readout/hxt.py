"""Reader of HEXITEC spectrum files (``.hxt``, version 3): counts by pixel and energy bin."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from data_gen.core.errors import UserError
from data_gen.readout.spectra import MOST_BYTES, PixelSpectra, checked_spectra

MAGIC = b"HEXITECH"

# Label, version, nine motor positions, length of the prefix, prefix, time stamp, rows, columns, bins.
_HEADER = struct.Struct("<8sQ9ii100s16s3I")


def read_hxt(path: Path | str) -> PixelSpectra:
    """The spectra of a module.

    Little-endian: a header of 184 bytes, the bins' lower edges [bin] float64, and the counts
    [row, column, bin] float64. Layout as written by STFC's HexitecGigE (``HxtItem::HxtV3Buffer`` in
    github.com/stfc-detectors/hexitec, HxtProcessingLib/hxtitem.h; rows before columns in its
    ``HXTFileReader::readSingleSpectrum``) and as read by libhxt.

    Raises:
        UserError: no such file, another format or version, or truncated or damaged content.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing; it needs a HEXITEC .hxt file")
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if not header.startswith(MAGIC):
            raise UserError(f"{path} is no .hxt file; those begin with {MAGIC.decode()}")
        rows, columns, bins = _shape(header, path)
        expected = _HEADER.size + 8 * bins * (1 + rows * columns)
        if size != expected:
            raise UserError(
                f"{path} has {size} bytes; {rows} x {columns} pixels of {bins} bins need {expected}"
            )
        if size > MOST_BYTES:
            raise UserError(f"{path} has {size} bytes; spectra cubes have at most {MOST_BYTES}")
        values = np.frombuffer(file.read(), "<f8").astype(np.float64)
    return checked_spectra(values[bins:].reshape(rows, columns, bins), values[:bins], path)


def _shape(header: bytes, path: Path) -> tuple[int, int, int]:
    """Rows, columns and bins stated by a header."""
    if len(header) < _HEADER.size:
        raise UserError(f"{path} ends within its header; a .hxt file has {_HEADER.size} bytes of it")
    fields = _HEADER.unpack(header)
    if fields[1] != 3:
        raise UserError(f"{path} is a .hxt file of version {fields[1]}; only version 3 is read")
    rows, columns, bins = fields[-3:]
    if not (rows and columns and bins):
        raise UserError(
            f"{path} tells of {rows} x {columns} pixels and {bins} bins; it needs 1 or more of each"
        )
    return rows, columns, bins
