"""Measured spectra of every pixel of one module, and their assignment to the pixels of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.readout.modules import ModuleLayout

MOST_BYTES = 2**30
"""Largest accepted file; the largest in use (2 x 6 modules of 80 x 80 pixels, 800 bins of 8 bytes) has 5e8
bytes.
"""


@dataclass(frozen=True, eq=False)
class PixelSpectra:
    """Counted spectra of a module.

    Args:
        counts: [row, column, bin] float64.
        edges: ascending bin edges [bin + 1] float64; keV for calibrated files, ADC units for others.
    """

    counts: Tensor
    edges: Tensor


def checked_spectra(counts: NDArray[np.float64], starts: NDArray[np.float64], source: Path) -> PixelSpectra:
    """Spectra of bins that begin at ``starts``; the last bin is as wide as the one before it.

    Args:
        counts: [row, column, bin].
        starts: lower edges [bin]; HEXITEC software counts an energy E in bin floor(E / width).
        source: file, for messages.

    Raises:
        UserError: fewer than two bins, bins that do not rise, or counts that are none.
    """
    if len(starts) < 2 or not np.isfinite(starts).all() or (np.diff(starts) <= 0).any():
        raise UserError(f"{source}: bins do not rise; spectra need two or more bins of rising energy")
    if counts.shape[-1] != len(starts):
        raise UserError(
            f"{source}: counts have {counts.shape[-1]} bins and {len(starts)} edges; they need as many"
        )
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise UserError(f"{source}: holds negative, NaN or infinite counts; counts need to be 0 or more")
    edges = np.append(starts, 2 * starts[-1] - starts[-2])
    return PixelSpectra(torch.from_numpy(counts), torch.from_numpy(edges))


def camera_counts(spectra: PixelSpectra, layout: ModuleLayout, module: int, quarter_turns: int = 0) -> Tensor:
    """Counts of one module placed among the pixels of a camera, [pixel, bin]; all other pixels are 0.

    Args:
        spectra: spectra of the module.
        layout: the camera's pixels, divided into modules.
        module: index of the module.
        quarter_turns: how often the module is mounted rotated by 90 degrees, from rows towards columns.

    Raises:
        UserError: the module is of another size, or not there.
    """
    turned = torch.rot90(spectra.counts, quarter_turns, (0, 1))
    if tuple(turned.shape[:2]) != layout.shape:
        found, wanted = " x ".join(map(str, turned.shape[:2])), " x ".join(map(str, layout.shape))
        raise UserError(f"spectra are of {found} pixels; modules of this camera have {wanted}")
    counts = turned.new_zeros(layout.pixels, turned.shape[2])
    counts[layout.pixels_of(module)] = turned.flatten(0, 1)
    return counts
