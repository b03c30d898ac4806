"""Crystals of CdTe against the measured spectrum of Am-241: hole tail, escape peaks and width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from data_gen.detector import CRYSTALS, CdTeResponse, peak_fwhm_kev
from data_gen.detector.constants import Crystal
from data_gen.validation.point import Array, Findings, Plot, Point

_AM241_KEV = 59.541
"""The gamma line of Am-241."""
_MEASURED = {"tail": 0.27, "escape_cd": 0.061, "escape_te": 0.056}
"""Counts over those of the peak, 57 keV and above: 50-57 keV, and the escape peaks; a diode of 1 mm at 700 V,
part of the tail scattered in the laboratory.
"""
_SOURCE = "measured spectrum of a planar diode, 1 mm, 700 V"
_FWHM_KEV = 0.74
_ESCAPES_KEV = {"escape_cd": (35.0, 38.0), "escape_te": (31.0, 34.5)}
"""Escape of K alpha X-rays of Cd (23.1 keV), and of Te (27.4 keV) together with the K beta X-rays of Cd."""


def crystals(names: Sequence[Crystal] = ("ideal", "typical", "aged"), bin_kev: float = 0.05) -> Findings:
    """Am-241 in planar diodes and in the small pixels of the default camera, by crystal.

    Args:
        names: crystals.
        bin_kev: width of the bins of the spectra.
    """
    points: list[Point] = []
    curves: dict[str, tuple[Array, Array]] = {}
    for crystal in names:
        diode, pixels = planar_diode(crystal), small_pixels(crystal)
        held = _MEASURED if crystal == "typical" else {}
        for name, value in am241_shares(diode, bin_kev).items():
            points.append(_point(f"{crystal}_diode_{name}", value, held.get(name), 0.3))
        width = float(peak_fwhm_kev(diode, _AM241_KEV))
        points.append(_point(f"{crystal}_diode_fwhm", width, _FWHM_KEV if held else None, 0.1, "keV"))
        for name, value in am241_shares(pixels, bin_kev).items():
            points.append(_point(f"{crystal}_pixels_{name}", value, None, 0.0))
        width = float(peak_fwhm_kev(pixels, _AM241_KEV))
        points.append(_point(f"{crystal}_pixels_fwhm", width, None, 0.0, "keV"))
        edges, counts = _spectrum(diode, bin_kev)
        curves[f"{crystal}, planar"] = ((edges[1:] + edges[:-1]) / 2, counts / bin_kev + 1e-9)
    caption = "Am-241 in planar diodes of 1 mm at 700 V: the spectrum of one interacting photon, by crystal."
    axes = ("recorded energy [keV]", "probability per keV")
    return Findings(points, [Plot("crystals", caption, *axes, curves, ("linear", "log"))])


def planar_diode(crystal: Crystal) -> CdTeResponse:
    """A single electrode of 5 mm on 1 mm at 700 V, without spreads over pixels or gaps."""
    single = {"gain_spread_fraction": 0.0, "offset_spread_kev": 0.0, "gap_loss_fraction": 0.0}
    return CdTeResponse(1.0, 5.0, **(CRYSTALS[crystal] | {"bias_v": 700.0} | single))


def small_pixels(crystal: Crystal) -> CdTeResponse:
    """One pixel of 0.25 mm on 2 mm at 1500 V, as in the default camera, without spreads over pixels."""
    constants = CRYSTALS[crystal] | {"gain_spread_fraction": 0.0, "offset_spread_kev": 0.0}
    return CdTeResponse(2.0, 0.25, **constants)


def am241_shares(response: CdTeResponse, bin_kev: float) -> dict[str, float]:
    """Counts of the tail and of the escape peaks over those of the peak."""
    edges, counts = _spectrum(response, bin_kev)
    middle = (edges[1:] + edges[:-1]) / 2
    peak = float(counts[middle > 57].sum())
    found = {"tail": float(counts[(middle > 50) & (middle < 57)].sum()) / peak}
    for name, (low, high) in _ESCAPES_KEV.items():
        found[name] = float(counts[(middle > low) & (middle < high)].sum()) / peak
    return found


def _spectrum(response: CdTeResponse, bin_kev: float) -> tuple[Array, Array]:
    """Edges in keV [bin + 1] and probabilities [bin] of what a photon of Am-241 leaves."""
    edges = torch.arange(10.0, 65.0, bin_kev, dtype=torch.float64)
    counts = response.kernel(torch.tensor([_AM241_KEV], dtype=torch.float64), edges)[:, 0].sum(0)
    return np.asarray(edges.numpy()), np.asarray(counts.numpy())


def _point(name: str, value: float, truth: float | None, limit: float, unit: str = "") -> Point:
    """A number beside what was measured, or by itself."""
    told = f"{value:.4g} {unit}".strip()
    if truth is None:
        return Point(name, value, None, "reported", "computed", "Am-241", unit)
    return Point(name, abs(value / truth - 1), limit, f"{truth:g} {unit}".strip(), _SOURCE, f"{told} found")
