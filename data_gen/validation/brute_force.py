"""Transmission of a plate with a hole, by brute-force integration along straight lines; uses no code of
data_gen.

Independent of the projector: it tests at every step whether a point lies in metal, where the projector
uses signed distances and quadrature nodes around the waist. Lengths are in mm, attenuation in 1/mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_gen.validation.point import Array

_RAYS_AT_ONCE = 4096
"""Lines followed together, which bounds the memory."""


@dataclass(frozen=True)
class Hole:
    """A hole in a plate, and the detector behind; mm, x into the camera, (y, z) across.

    Args:
        shape: shape of the hole's mouths.
        plane_mm: x of the waist.
        plate_mm: thickness of the plate.
        centre_mm: (y, z) of the waist.
        slope: (y, z) by which the hole's axis moves per mm of x.
        radius_mm: radius of the waist.
        tangent: tangent of the half opening angle along (y, z).
        detector_mm: x of the detector's face.
        detector_half_mm: half its size along (y, z).
        detector_shift_mm: (y, z) of its middle.
        plate_mu: attenuation of the plate, 1/mm.
        crystal_mm: thickness of the detector.
        crystal_mu: attenuation of the detector by interactions that leave energy, 1/mm.
    """

    shape: Literal["knife_edge", "loft_hole"]
    plane_mm: float
    plate_mm: float
    centre_mm: tuple[float, float]
    slope: tuple[float, float]
    radius_mm: float
    tangent: tuple[float, float]
    detector_mm: float
    detector_half_mm: tuple[float, float]
    detector_shift_mm: tuple[float, float]
    plate_mu: float
    crystal_mm: float
    crystal_mu: float

    def rims_mm(self, axis: int) -> tuple[float, float]:
        """Ends of the detector along y (0) or z (1)."""
        middle, half = self.detector_shift_mm[axis], self.detector_half_mm[axis]
        return middle - half, middle + half


def interacting_share(hole: Hole, source_mm: tuple[float, float, float], nodes: int, steps: int) -> float:
    """Fraction of the photons of a point (x, y, z) that interact in the detector, straight through the plate.

    The waist's plane is divided into ``nodes`` by ``nodes`` patches, finest around the hole, out to the
    shadow of the detector; the plate into ``steps`` layers.
    """
    height = hole.plane_mm - source_mm[0]
    axes = []
    for k in (0, 1):
        ends = [
            source_mm[1 + k] + shrink * (rim - source_mm[1 + k])
            for shrink, rim in _corners(hole, source_mm, k)
        ]
        axes.append(_graded(hole.centre_mm[k], min(ends), max(ends), 2 * hole.radius_mm, nodes))
    waist = np.stack([part.ravel() for part in np.meshgrid(axes[0][0], axes[1][0], indexing="ij")], axis=1)
    area = np.outer(axes[0][1], axes[1][1]).ravel()
    slope = (waist - np.array(source_mm[1:])) / height
    slant = np.hypot(1.0, np.hypot(slope[:, 0], slope[:, 1]))
    solid = area / (4 * math.pi * height**2 * slant**3)
    stopped = -np.expm1(-hole.crystal_mu * _crystal_mm(hole, waist, slope) * slant)
    metal = np.concatenate(
        [
            _metal_mm(hole, waist[i : i + _RAYS_AT_ONCE], slope[i : i + _RAYS_AT_ONCE], steps)
            for i in range(0, len(waist), _RAYS_AT_ONCE)
        ]
    )
    return float((solid * stopped * np.exp(-hole.plate_mu * metal * slant)).sum())


def _corners(hole: Hole, source_mm: tuple[float, float, float], axis: int) -> list[tuple[float, float]]:
    """How much nearer the waist is than the detector's front or back, with each rim there."""
    height = hole.plane_mm - source_mm[0]
    faces = (hole.detector_mm, hole.detector_mm + hole.crystal_mm)
    return [(height / (face - source_mm[0]), rim) for face in faces for rim in hole.rims_mm(axis)]


def _crystal_mm(hole: Hole, waist: Array, slope: Array) -> Array:
    """Depth of crystal [ray] between entry, by face or side, and exit of lines through ``waist``, mm of x."""
    first, last = np.zeros(len(waist)), np.full(len(waist), hole.crystal_mm)
    for k in (0, 1):
        place = waist[:, k] + slope[:, k] * (hole.detector_mm - hole.plane_mm)
        along = np.where(np.abs(slope[:, k]) < 1e-12, 1e-12, slope[:, k])
        crossed = np.stack([(rim - place) / along for rim in hole.rims_mm(k)])
        first, last = np.maximum(first, crossed.min(axis=0)), np.minimum(last, crossed.max(axis=0))
    depth: Array = np.maximum(last - first, 0.0)
    return depth


def _graded(middle: float, low: float, high: float, fine: float, nodes: int) -> tuple[Array, Array]:
    """Midpoints and widths of intervals between two ends, about as fine as fine/nodes at the middle."""
    first, last = (math.asinh((end - middle) / fine) for end in (low, high))
    edges = middle + fine * np.sinh(np.linspace(first, last, nodes + 1))
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


def _metal_mm(hole: Hole, waist: Array, slope: Array, steps: int) -> Array:
    """Depth of metal [ray] on lines through ``waist`` [ray, 2], mm of x."""
    even = np.linspace(-1, 1, steps + 1)
    edges = even * np.abs(even) * hole.plate_mm / 2  # finest at the waist, where lines graze the rim
    depth, layer = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    place = (
        waist[:, None] + (slope - np.array(hole.slope))[:, None] * depth[:, None] - np.array(hole.centre_mm)
    )
    metal: Array = ~_is_open(hole, place, np.abs(depth)) @ layer
    return metal


def _is_open(hole: Hole, place: Array, height: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether points [ray, step, 2], from the hole's axis, lie in the hole at heights [step]."""
    if hole.shape == "knife_edge":
        inside = np.hypot(place[..., 0], place[..., 1]) <= hole.radius_mm + hole.tangent[0] * height
        return np.asarray(inside)
    share = height / (hole.plate_mm / 2)
    mouth = hole.radius_mm + np.array(hole.tangent) * hole.plate_mm / 2
    beyond = np.maximum(np.abs(place) - share[:, None] * mouth, 0.0)
    return np.asarray(np.hypot(beyond[..., 0], beyond[..., 1]) <= hole.radius_mm * (1 - share) + 1e-12)
