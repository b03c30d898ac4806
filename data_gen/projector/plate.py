"""Path of rays through the material of a collimator plate around an aperture."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera


def path_in_plate(waist: Tensor, slope: Tensor, camera: Camera, aperture: Tensor, steps: int) -> Tensor:
    """Length of plate material that rays cross, in mm; smooth wherever the shape is.

    At height z from the waist the open section is the waist's disk shrunk by 1 - l plus (as a Minkowski
    sum) the end opening shrunk by l = 2 |z| / plate: a cone for a round end, a loft for a rectangular one.
    Between heights, the share of a step inside material is told from the signed distances at its ends.

    Args:
        waist: (u, v) where rays cross the waist plane, from the aperture's centre, [k, ray, 2] mm.
        slope: (u, v) of rays per mm towards the detector, relative to the aperture's axis, [k, ray, 2].
        camera: the camera.
        aperture: of each row, [k].
        steps: in each half of the plate.

    Returns:
        [k, ray] mm along the plate's normal; divide by the cosine of incidence for the length.
    """
    half = camera.plate_mm / 2
    share = torch.linspace(-1, 1, 2 * steps + 1, dtype=waist.dtype)
    height = half * share * share.abs()  # finest at the waist, where rays graze the walls
    radius = camera.aperture_diameter_mm[aperture] / 2
    opening = camera.aperture_opening[aperture]
    place = waist[:, :, None] + slope[:, :, None] * height[:, None]
    distance = _outside(place, height.abs(), radius, opening, half, camera.shape == "knife_edge")
    ends = distance.relu()
    size = distance.abs()
    inside = (ends[..., 1:] + ends[..., :-1]) / (size[..., 1:] + size[..., :-1] + 1e-12)
    return (inside * height.diff()).sum(dim=-1)


def _outside(
    place: Tensor, height: Tensor, radius: Tensor, opening: Tensor, half: float, is_round: bool
) -> Tensor:
    """Signed distance mm from the open section, positive in material: [k, ray, step]."""
    if is_round:
        return _length(place) - (radius[:, None] + opening[:, :1] * height)[:, None]
    share = height / half
    corner = (radius[:, None] + opening * half)[:, None] * share[:, None]
    beyond = place.abs() - corner[:, None]
    flat = beyond.amax(dim=-1).clamp_max(0)
    return _length(beyond.relu()) + flat - (radius[:, None] * (1 - share))[:, None]


def _length(vector: Tensor) -> Tensor:
    """Euclidean length over the last axis, with a gradient at 0."""
    return (vector.square().sum(dim=-1) + 1e-20).sqrt()
