"""HEXITEC files written byte by byte from the published layouts."""

import struct

import h5py
import numpy as np
import pytest
import torch
from contracts.readout_contract import layout_of

from data_gen.core.errors import UserError
from data_gen.readout import camera_counts, read_hxt, read_odin

ROWS, COLUMNS, BINS = 3, 4, 5
COUNTS = np.arange(ROWS * COLUMNS * BINS, dtype=np.float64).reshape(ROWS, COLUMNS, BINS)
STARTS = np.arange(BINS) * 0.25 + 2.0


def _hxt(version=3, rows=ROWS, columns=COLUMNS, bins=BINS, starts=STARTS, counts=COUNTS):
    """Field after field as stfc-detectors/hexitec declares HxtV3Buffer; then bins, then pixel after pixel."""
    parts = [b"HEXITECH", struct.pack("<Q", version)]
    parts += [struct.pack("<i", 0)] * 9
    parts += [struct.pack("<i", 3), b"run".ljust(100, b"\0"), b"20261122_1200000"]
    parts += [struct.pack("<I", n) for n in (rows, columns, bins)]
    parts += [struct.pack("<d", e) for e in starts]
    for row in counts:
        for pixel in row:
            parts += [struct.pack("<d", n) for n in pixel]
    return b"".join(parts)


def _odin(path, **data):
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values
    return path


def test_hxt(tmp_path):
    """Row 1, column 2 holds what was written there; the last bin is as wide as the others."""
    path = tmp_path / "a.hxt"
    path.write_bytes(_hxt())
    spectra = read_hxt(path)
    assert np.array_equal(spectra.counts.numpy(), COUNTS)
    assert spectra.edges.tolist() == [2.0, 2.25, 2.5, 2.75, 3.0, 3.25]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_hxt()[:-1], "bytes"),
        (_hxt() + b"\0", "bytes"),
        (_hxt()[:100], "header"),
        (b"", "no .hxt"),
        (b"PK\3\4" + _hxt(), "no .hxt"),
        (_hxt(version=2), "version 2"),
        (_hxt(rows=2**32 - 1, columns=2**32 - 1, bins=2**32 - 1), "bytes"),
        (_hxt(rows=0), "1 or more"),
        (_hxt(starts=STARTS[::-1]), "rise"),
        (_hxt(starts=np.full(BINS, np.nan)), "rise"),
        (_hxt(counts=-COUNTS), "counts"),
        (_hxt(counts=np.full_like(COUNTS, np.inf)), "counts"),
    ],
)
def test_damaged_and_hostile_hxt_is_refused(tmp_path, content, told):
    path = tmp_path / "bad.hxt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_hxt(path)


def test_missing_files_are_refused(tmp_path):
    for read in (read_hxt, read_odin):
        with pytest.raises(UserError, match="missing"):
            read(tmp_path / "none")


def test_odin_shapes(tmp_path):
    """The same spectra as [row, column, bin], in two writes, and as [write, pixel, bin] beside an image."""
    single, bins = COUNTS.astype(np.float32), STARTS.astype(np.float32)
    image = np.zeros((1, ROWS, COLUMNS), np.uint32)
    files = [
        _odin(tmp_path / "a.h5", pixel_spectra=single, spectra_bins=bins),
        _odin(tmp_path / "b.h5", pixel_spectra=np.stack((single, 0 * single)), spectra_bins=bins[None]),
        _odin(
            tmp_path / "c.h5",
            pixel_spectra=np.stack((single, single)).reshape(2, -1, BINS) / 2,
            spectra_bins=bins[None],
            summed_images=image,
        ),
    ]
    for path in files:
        spectra = read_odin(path)
        assert np.array_equal(spectra.counts.numpy(), COUNTS)
        assert spectra.edges.tolist() == [2.0, 2.25, 2.5, 2.75, 3.0, 3.25]


def test_foreign_and_hostile_odin_is_refused(tmp_path):
    """Nothing outside the file is read, nothing absurd is allocated."""
    path = tmp_path / "bad.h5"
    whole = _odin(tmp_path / "whole.h5", pixel_spectra=COUNTS, spectra_bins=STARTS)

    def refused(told):
        with pytest.raises(UserError, match=told):
            read_odin(path)

    path.write_bytes(whole.read_bytes()[:500])
    refused("HDF5")
    path.write_bytes(_hxt())
    refused("HDF5")
    _odin(path, pixel_spectra=COUNTS)
    refused("spectra_bins")
    _odin(path, spectra_bins=STARTS, pixel_spectra=np.array(["a"], "S1"))
    refused("numbers")
    _odin(path, spectra_bins=STARTS[:-1], pixel_spectra=COUNTS)
    refused("bins")
    _odin(path, spectra_bins=STARTS, pixel_spectra=COUNTS.reshape(-1, BINS))
    refused("without an image")
    _odin(path, spectra_bins=STARTS, pixel_spectra=COUNTS, raw_frames=np.zeros((2, 9, 9), np.uint16))
    refused("9 x 9")
    with h5py.File(path, "w") as file:
        file["spectra_bins"] = STARTS
        file["pixel_spectra"] = h5py.ExternalLink(str(whole), "pixel_spectra")
    refused("of its own")
    with h5py.File(path, "w") as file:
        file["spectra_bins"] = STARTS
        file.create_dataset("pixel_spectra", (10**6, 10**6, 10**6), "f4", chunks=(1, 1, 10))
    refused("bytes")
    with h5py.File(path, "w") as file:
        file["spectra_bins"] = STARTS
        layout = h5py.VirtualLayout(COUNTS.shape, "f8")
        layout[:] = h5py.VirtualSource(str(whole), "pixel_spectra", COUNTS.shape)
        file.create_virtual_dataset("pixel_spectra", layout)
    refused("other files")


def test_a_module_finds_its_place(tmp_path):
    """Module 1 of two, upright and turned once: rows become columns (numpy.rot90 in words)."""
    path = tmp_path / "a.hxt"
    path.write_bytes(_hxt())
    spectra = read_hxt(path)
    counts = camera_counts(spectra, layout_of(2, ROWS, COLUMNS), 1)
    assert float(counts[: ROWS * COLUMNS].sum()) == 0
    assert torch.equal(counts[ROWS * COLUMNS + 1 * COLUMNS + 2], spectra.counts[1, 2])
    turned = camera_counts(spectra, layout_of(1, COLUMNS, ROWS), 0, quarter_turns=1)
    assert torch.equal(turned[0], spectra.counts[0, COLUMNS - 1])
    with pytest.raises(UserError, match="3 x 4"):
        camera_counts(spectra, layout_of(1, COLUMNS, ROWS), 0)
    with pytest.raises(UserError, match="module is 2"):
        camera_counts(spectra, layout_of(2, ROWS, COLUMNS), 2)
