"""Path length of rays through the material of a collimator: its plate around an aperture, and its septa.

Input are the points where rays cross the waist plane and their slopes, in the panel's (u, v) coordinates;
output is mm of material, smooth in the camera's geometry. docs/physics.md, sections 4 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera


def path_in_plate(
    waist: Tensor, slope: Tensor, camera: Camera, aperture: Tensor, beside: Tensor, steps: int
) -> Tensor:
    """Length of plate material that rays cross, in mm; smooth wherever the shape is.

    At height z from the waist the open section is the waist's disk shrunk by 1 - l plus (as a Minkowski
    sum) the end opening shrunk by l = 2 |z| / plate: a cone for a round end, a loft for a rectangular one.
    Between heights, the fraction of a step inside material follows from the signed distances at its ends.

    Args:
        waist: (u, v) where rays cross the waist plane, from the aperture's centre, [k, ray, 2] mm.
        slope: (u, v) of rays per mm towards the detector, [k, ray, 2].
        camera: the camera.
        aperture: that ``waist`` is measured from, [k].
        beside: apertures whose openings the rays may pass, [k, candidate].
        steps: number of steps in each half of the plate.

    Returns:
        [k, ray] mm along the plate's normal; divide by the cosine of incidence for the length.
    """
    half = camera.plate_mm / 2
    share = torch.linspace(-1, 1, 2 * steps + 1, dtype=waist.dtype, device=waist.device)
    height = half * share * share.abs()  # finest at the waist, where rays graze the walls
    nearest = None
    for opening in beside.unbind(dim=1):
        moved = waist - between_apertures(camera, aperture, opening)[:, None]
        relative = slope - axis_slope(camera, opening)[:, None]
        place = moved[:, :, None] + relative[:, :, None] * height[:, None]
        distance = _outside(place, height.abs(), camera, opening)
        nearest = distance if nearest is None else torch.minimum(nearest, distance)
    assert nearest is not None
    ends = nearest.relu()
    size = nearest.abs()
    inside = (ends[..., 1:] + ends[..., :-1]) / (size[..., 1:] + size[..., :-1] + 1e-12)
    return (inside * height.diff()).sum(dim=-1)


def between_apertures(camera: Camera, one: Tensor, other: Tensor) -> Tensor:
    """From aperture ``one`` to aperture ``other`` of the same panel, in its (u, v), [k, 2] mm."""
    panel = camera.aperture_panel[one]
    way = camera.aperture_centre_mm[other] - camera.aperture_centre_mm[one]
    return torch.stack(((way * camera.panel_u[panel]).sum(-1), (way * camera.panel_v[panel]).sum(-1)), dim=-1)


def waist_on_panel(camera: Camera, aperture: Tensor) -> Tensor:
    """(u, v) of aperture centres from the middle of their panel, [k, 2] mm."""
    panel, centre = camera.aperture_panel[aperture], camera.aperture_centre_mm[aperture]
    along = torch.stack(
        ((centre * camera.panel_u[panel]).sum(-1), (centre * camera.panel_v[panel]).sum(-1)), dim=-1
    )
    return along - along.new_tensor([0.0, camera.spec.panels.axial_mm])


def axis_slope(camera: Camera, aperture: Tensor) -> Tensor:
    """(u, v) of aperture axes per mm towards the detector, [k, 2]."""
    panel = camera.aperture_panel[aperture]
    axis = camera.aperture_axis[aperture]
    along = torch.stack(
        ((axis * camera.panel_u[panel]).sum(-1), (axis * camera.panel_v[panel]).sum(-1)), dim=-1
    )
    return along / (axis * camera.panel_normal[panel]).sum(-1, keepdim=True)


def _outside(place: Tensor, height: Tensor, camera: Camera, aperture: Tensor) -> Tensor:
    """Signed distance mm from the open section, positive in material: [k, ray, step]."""
    half = camera.plate_mm / 2
    radius, opening = camera.aperture_diameter_mm[aperture] / 2, camera.aperture_opening[aperture]
    if camera.shape == "knife_edge":
        return _length(place) - (radius[:, None] + opening[:, :1] * height)[:, None]
    share = height / half
    corner = (radius[:, None] + opening * half)[:, None] * share[:, None]
    beyond = place.abs() - corner[:, None]
    flat = beyond.amax(dim=-1).clamp_max(0)
    return _length(beyond.relu()) + flat - (radius[:, None] * (1 - share))[:, None]


def _length(vector: Tensor) -> Tensor:
    """Euclidean length over the last axis, with a gradient at 0."""
    return (vector.square().sum(dim=-1) + 1e-20).sqrt()


def path_in_septa(waist: Tensor, slope: Tensor, detector_mm: Tensor, camera: Camera) -> Tensor:
    """Length of septum that rays cross between plate and detector, in mm along the panel's normal.

    Septa are upright walls on the boundaries between blocks of pixels. Walls along rows and along columns
    cross, so what both cover counts once. Piecewise linear in the ray, so with gradients in poses.

    Args:
        waist: (u, v) where rays cross the waist plane, from the panel's middle, [k, ray, 2] mm.
        slope: (u, v) of rays per mm towards the detector, [k, ray, 2].
        detector_mm: distance from the waist plane to the detector's face, [k].
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
        _walls(columns, detector.columns * detector.pitch_mm).to(waist.device),
        _walls(rows, detector.rows * detector.pitch_mm).to(waist.device),
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
