"""Path of rays through the septa between the eyes of a panel."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera


def path_in_septa(waist: Tensor, slope: Tensor, detector_mm: Tensor, camera: Camera) -> Tensor:
    """Length of septum that rays cross between plate and detector, in mm along the panel's normal.

    Septa are upright walls on the boundaries between blocks of pixels. Walls along rows and along columns
    cross, so what both cover counts once. Piecewise linear in the ray, so with gradients in poses.

    Args:
        waist: (u, v) where rays cross the waist plane, from the panel's middle, [k, ray, 2] mm.
        slope: (u, v) of rays per mm towards the detector, [k, ray, 2].
        detector_mm: from the waist plane to the detector's face, [k].
        camera: the camera.

    Returns:
        [k, ray] mm along the panel's normal; divide by the cosine of incidence for the length.
    """
    spec = camera.spec
    if not (spec.collimator.septa and spec.collimator.apertures):
        return torch.zeros_like(waist[..., 0])
    first = spec.collimator.plate_mm / 2
    last = detector_mm[:, None, None]
    rows, columns = spec.collimator.apertures
    detector = spec.detector
    across = (
        _walls(columns, detector.columns * detector.pitch_mm),
        _walls(rows, detector.rows * detector.pitch_mm),
    )
    half = spec.collimator.septa_mm / 2
    spans = [
        _within(waist[..., axis, None] - walls, slope[..., axis, None], half, first, last)
        for axis, walls in enumerate(across)
    ]
    (low_u, high_u), (low_v, high_v) = spans
    both = torch.minimum(high_u[..., :, None], high_v[..., None, :]) - torch.maximum(
        low_u[..., :, None], low_v[..., None, :]
    )
    single = sum((high - low).relu().sum(dim=-1) for low, high in spans)
    return torch.as_tensor(single) - both.relu().sum(dim=(-1, -2))


def _walls(blocks: int, width_mm: float) -> Tensor:
    """Places of the interior boundaries between ``blocks`` equal blocks about 0, mm."""
    return (torch.arange(1, blocks, dtype=torch.float64) / blocks - 0.5) * width_mm


def _within(place: Tensor, slope: Tensor, half: float, first: float, last: Tensor) -> tuple[Tensor, Tensor]:
    """Heights between which place + slope * height lies within ``half`` of 0, cut to [first, last]."""
    steep = torch.where(slope.abs() < 1e-9, 1e-9, slope)
    one, other = (-half - place) / steep, (half - place) / steep
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    return low.clamp_min(first).minimum(last), high.clamp_min(first).minimum(last)
