"""Width (FWHM, mm) of the image of a point compared with the pinhole formula (``formulas.py``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.validation import formulas
from data_gen.validation.point import Array, Findings, Plot, Point
from data_gen.validation.scenes import STOPS_AT_FACE_MM, Pinhole, point_at, rays_seen

_PIXELS = 24
"""Pixels per expected width: far more than the 4 that the width needs, so that pixels do not count."""


def resolution(
    energies_kev: Sequence[float] = (82.0, 140.0, 218.0, 440.0),
    magnifications: Sequence[float] = (1.0, 3.0),
    diameter_mm: float = 1.0,
    opening_deg: float = 60.0,
    rays: int = 1024,
) -> Findings:
    """Relative deviation of the FWHM of images of a point on the axis of a knife edge in tungsten.

    Args:
        energies_kev: photon energies.
        magnifications: detector over object distance from the plate.
        diameter_mm: diameter of the waist.
        opening_deg: full opening angle.
        rays: number of rays for each pixel.
    """
    points, curves = [], {}
    for energy in energies_kev:
        mu = float(interaction_attenuation_per_mm("tungsten", energy))
        effective = formulas.diameter_for_resolution_mm(diameter_mm, opening_deg, mu)
        for magnification in magnifications:
            width = effective * (1 + magnification)
            place, profile = _profile(energy, mu, magnification, width, diameter_mm, opening_deg, rays)
            points.append(_point(energy, magnification, diameter_mm, fwhm(place, profile) / width - 1))
            if magnification == magnifications[0]:
                curves[f"{energy:g} keV"] = (place / (1 + magnification), profile / profile.max())
    caption = "Image of a point through a knife edge of 1 mm in tungsten, back on the plate's scale."
    axes = ("place over 1 + M [mm]", "relative to the peak")
    return Findings(points, [Plot("profiles", caption, *axes, curves)])


def _profile(
    energy_kev: float,
    mu: float,
    magnification: float,
    width_mm: float,
    diameter_mm: float,
    opening_deg: float,
    rays: int,
) -> tuple[Array, Array]:
    """Place in mm and mean of the middle rows of the image of a point."""
    height = max(30.0, 20 * formulas.diameter_for_sensitivity_mm(diameter_mm, opening_deg, mu))
    pitch = width_mm / _PIXELS
    hole = Pinhole(
        height,
        height * (1 + magnification),
        diameter_mm,
        opening_deg,
        10 / mu + 1,
        (2, 3 * _PIXELS),
        pitch,
        STOPS_AT_FACE_MM,
    )
    grid = VoxelGrid((1, 1, 1), 0.4 * diameter_mm)
    image = rays_seen(hole.camera(), energy_kev, grid, point_at(grid, (0, 0, 0)), rays=rays)
    profile = np.asarray(image.mean(0).numpy(), dtype=np.float64)
    place = (np.arange(len(profile), dtype=np.float64) - (len(profile) - 1) / 2) * pitch
    return place, profile


def fwhm(place: Array, profile: Array) -> float:
    """Full width at half of the peak, straight between samples; the peak is the mean of its upper tenth."""
    half = profile[profile > 0.9 * profile.max()].mean() / 2
    above = np.flatnonzero(profile > half)
    left, right = above[0], above[-1]

    def crossing(i: int, j: int) -> float:
        share = (half - profile[i]) / (profile[j] - profile[i])
        return float(place[i] + share * (place[j] - place[i]))

    if left == 0 or right == len(profile) - 1:
        return math.nan
    return crossing(right, right + 1) - crossing(left, left - 1)


def _point(energy_kev: float, magnification: float, diameter_mm: float, deviation: float) -> Point:
    return Point(
        f"fwhm_{energy_kev:g}kev_m{magnification:g}",
        abs(deviation),
        0.05,
        "d_re (1 + M), d_re = d + ln2 tan(a/2)/mu",
        formulas.ACCORSI,
        f"knife edge of {diameter_mm:g} mm in tungsten, h >= 20 d_se, {_PIXELS} pixels to the width",
    )
