"""Path of rays through the material of a collimator plate around an aperture."""

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
    Between heights, the share of a step inside material is told from the signed distances at its ends.

    Args:
        waist: (u, v) where rays cross the waist plane, from the aperture's centre, [k, ray, 2] mm.
        slope: (u, v) of rays per mm towards the detector, [k, ray, 2].
        camera: the camera.
        aperture: that ``waist`` is measured from, [k].
        beside: apertures whose openings the rays may pass, [k, candidate].
        steps: in each half of the plate.

    Returns:
        [k, ray] mm along the plate's normal; divide by the cosine of incidence for the length.
    """
    half = camera.plate_mm / 2
    share = torch.linspace(-1, 1, 2 * steps + 1, dtype=waist.dtype)
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
    return along - torch.tensor([0.0, camera.spec.panels.axial_mm], dtype=along.dtype)


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
