"""Geometry of pinholes: inverse square, sin^3, magnification, centroid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from data_gen.core.grid import VoxelGrid
from data_gen.materials import interaction_attenuation_per_mm
from data_gen.validation.point import Findings, Plot, Point
from data_gen.validation.scenes import (
    STOPS_AT_FACE_MM,
    Pinhole,
    centroid_mm,
    point_at,
    rays_seen,
)

_HARD_KEV = 20.0
"""An energy at which a plate of gold stops photons within 0.01 mm: holes as sharp as they are drawn."""

_VOXEL_MM = 1.5
"""Voxel edge of the source in front of the wide hole: small against it, large against the spacing of rays."""


def geometry(
    heights_mm: Sequence[float] = (20.0, 40.0, 100.0, 200.0),
    off_axis_deg: Sequence[float] = (0.0, 15.0, 30.0, 45.0, 60.0),
    rays: int = 64,
) -> Findings:
    """Inverse square, sin^3, magnification and centroid, with one ray-traced pinhole each.

    Args:
        heights_mm: heights of the source over the aperture, rising.
        off_axis_deg: angles of the source from the aperture's axis, 0 first.
        rays: number of rays for each pixel.
    """
    square, square_plot = _inverse_square(heights_mm, rays)
    sine, sine_plot = _sine_cubed(off_axis_deg, rays)
    return Findings((square, sine, _magnification(rays), _centroid(rays)), (square_plot, sine_plot))


def _inverse_square(heights_mm: Sequence[float], rays: int) -> tuple[Point, Plot]:
    seen = []
    for h in heights_mm:
        grid = VoxelGrid((1, 1, 1), min(2.0, h / 40))
        image = rays_seen(Pinhole(h, 2 * h).camera(), 82.0, grid, point_at(grid, (0, 0, 0)), rays=4 * rays)
        seen.append(float(image.sum()))
    height, share = np.array(heights_mm), np.array(seen)
    law = share[0] * (height[0] / height) ** 2
    point = Point(
        "inverse_square",
        float(np.abs(share / law - 1).max()),
        0.005,
        "sensitivity falls as 1/h^2",
        "geometry of a point source",
        f"knife edge of 1 mm, 82 keV, h from {height[0]:g} to {height[-1]:g} mm",
    )
    curves = {"ray tracing": (height, share), "1/h^2": (height, law)}
    caption = "Sensitivity of a knife edge against the height of the source."
    axes = ("height over the aperture [mm]", "first interactions per photon")
    return point, Plot("inverse_square", caption, *axes, curves, ("log", "log"))


def _sine_cubed(off_axis_deg: Sequence[float], rays: int) -> tuple[Point, Plot]:
    """A wide hole with an edge so hard that it does not count; the detector moves with the image."""
    height_mm, share, angle = 120.0, [], []
    for wanted in off_axis_deg:
        away = round(height_mm * math.tan(math.radians(wanted)) / _VOXEL_MM) * _VOXEL_MM
        hole = Pinhole(
            height_mm, 2 * height_mm, 6.0, 150.0, 8.0, (24, 24), 0.9, material="gold", shift_mm=away
        )
        grid = VoxelGrid((2 * round(away / _VOXEL_MM) + 1, 1, 1), _VOXEL_MM)
        source = point_at(grid, (0, 0, 0))
        share.append(float(rays_seen(hole.camera(), _HARD_KEV, grid, source, rays=8 * rays).sum()))
        angle.append(math.atan(away / height_mm))
    seen, law = np.array(share) / share[0], np.cos(angle) ** 3
    point = Point(
        "sine_cubed",
        float(np.abs(seen / law - 1).max()),
        0.01,
        "sensitivity falls as sin^3 of the angle to the plate",
        "geometry of a thin hole",
        f"hole of 6 mm in gold, {_HARD_KEV:g} keV, to {max(off_axis_deg):g} degrees off the axis",
    )
    curves = {"ray tracing": (np.degrees(angle), seen), "sin^3": (np.degrees(angle), law)}
    caption = "Sensitivity of a wide hard hole against the angle of the source, relative to the axis."
    axes = ("angle off the axis [degree]", "sensitivity over that on the axis")
    return point, Plot("sine_cubed", caption, *axes, curves)


def _magnification(rays: int) -> Point:
    """Images of points on both sides of the axis: their distance over that of the points."""
    hole = Pinhole(40.0, 160.0, 1.0, 60.0, 8.0, (12, 140), 0.5, STOPS_AT_FACE_MM)
    grid, side = VoxelGrid((1, 21, 1), 0.5), 10
    images = [
        rays_seen(hole.camera(), 82.0, grid, point_at(grid, (0, 10 + way * side, 0)), rays=4 * rays)
        for way in (-1, 1)
    ]
    left, right = (centroid_mm(image, hole.pitch_mm)[1] for image in images)
    measured = abs(right - left) / (2 * side * grid.spacing_mm[1])
    truth = (hole.detector_mm - hole.height_mm) / hole.height_mm
    return Point(
        "magnification",
        abs(measured / truth - 1),
        0.005,
        "(detector - waist) / (waist - source)",
        "similar triangles",
        f"magnification {truth:g}, points 5 mm off the axis, 82 keV",
    )


def _centroid(rays: int) -> Point:
    """Where the image of an oblique point lies, with the depth at which photons interact."""
    energy_kev, crystal_mm = 82.0, 2.0
    hole = Pinhole(30.0, 50.0, 1.0, 60.0, 8.0, (64, 12), 0.25, crystal_mm)
    grid = VoxelGrid((41, 1, 1), 0.5)
    image = rays_seen(hole.camera(), energy_kev, grid, point_at(grid, (40, 0, 0)), rays=4 * rays)
    slope = -10.0 / hole.height_mm
    cosine = 1 / math.hypot(1, slope)
    mu = float(interaction_attenuation_per_mm("CdTe", energy_kev)) / cosine
    depth = 1 / mu - crystal_mm / math.expm1(mu * crystal_mm)
    truth = slope * (hole.detector_mm - hole.height_mm + depth)
    return Point(
        "centroid",
        abs(centroid_mm(image, hole.pitch_mm)[0] - truth) / hole.pitch_mm,
        0.1,
        "line through source and hole to the mean depth of interaction",
        "geometry and the exponential law",
        "point 18 degrees off the axis, 82 keV, 2 mm of CdTe, pixels of 0.25 mm",
        "pixel",
    )
