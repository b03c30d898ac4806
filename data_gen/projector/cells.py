"""The parts of a plate that belong to each aperture, and which apertures septa leave open to a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.projector.plate import between_apertures, waist_on_panel


def nearest_apertures(camera: Camera, aperture: Tensor, most: int) -> Tensor:
    """The nearest apertures of the same panel, the own first, [k, candidate]."""
    same = _same_panel(camera, aperture)
    centre = camera.aperture_centre_mm.detach()
    distance = (centre[same] - centre[aperture][:, None]).norm(dim=-1)
    nearest: Tensor = distance.argsort(dim=1, stable=True)[:, :most]
    return same.gather(1, nearest)


def cell_mm(camera: Camera, aperture: Tensor, heading: Tensor, within_mm: float) -> Tensor:
    """Distance from apertures to the border of their cells: the points of the waist plane nearest to them.

    Cells at the panel's rim end where no ray from activity to the detector passes.

    Args:
        camera: the camera.
        aperture: numbers, [k].
        heading: unit vectors (u, v), [k, ray, 2].
        within_mm: largest distance of activity from the isocentre.

    Returns:
        [k, ray] mm.
    """
    border = _rim_mm(camera, aperture, heading, within_mm)
    for other in _same_panel(camera, aperture).unbind(dim=1):
        way = between_apertures(camera, aperture, other)
        towards = (way[:, None] * heading).sum(-1).clamp_min(1e-9)
        halfway = way.square().sum(-1)[:, None] / (2 * towards)
        border = torch.where((other == aperture)[:, None], border, torch.minimum(border, halfway))
    return border


def looks_unhidden(camera: Camera, pairs: Tensor) -> Tensor:
    """Whether no septum hides the aperture from the pixel, [pair] bool."""
    spec = camera.spec
    if not spec.collimator.septa:
        return torch.ones(len(pairs), dtype=torch.bool)
    rows, columns = spec.collimator.apertures or (1, 1)
    pixel, aperture = pairs.unbind(dim=1)
    panel = camera.aperture_panel[aperture]
    place = camera.pixel_centre_mm.detach()[pixel]
    row = (place * camera.panel_v[panel]).sum(-1) - spec.panels.axial_mm
    column = (place * camera.panel_u[panel]).sum(-1)
    detector = spec.detector
    block_row = ((row / (detector.rows * detector.pitch_mm) + 0.5) * rows).floor()
    block_column = ((column / (detector.columns * detector.pitch_mm) + 0.5) * columns).floor()
    return (block_row * columns + block_column).long() == aperture % (rows * columns)


def _same_panel(camera: Camera, aperture: Tensor) -> Tensor:
    """All apertures of the panel of each, [k, aperture of panel]."""
    panels = torch.arange(camera.aperture_count).reshape(camera.panels, -1)
    return panels[camera.aperture_panel[aperture]]


def _rim_mm(camera: Camera, aperture: Tensor, heading: Tensor, within_mm: float) -> Tensor:
    """Distance to where no ray from activity to the detector passes, [k, ray]."""
    spec = camera.spec
    size = torch.tensor([spec.detector.columns, spec.detector.rows]) * spec.detector.pitch_mm / 2
    depth = within_mm * torch.linspace(-1, 1, 33, dtype=torch.float64)
    beside = (within_mm**2 - depth.square()).sqrt()
    behind = spec.panels.detector_mm - spec.collimator.plane_mm
    nearer = 1 - behind / (spec.panels.detector_mm - depth)
    # The isocentre lies off the panel's middle where panels are shifted along the ring's axis.
    ahead = heading.sign()[..., None, :] * torch.tensor([0.0, -spec.panels.axial_mm], dtype=torch.float64)
    activity = (1 - nearer)[:, None] * (beside[:, None] + ahead)
    farthest = (nearer[:, None] * size + activity).amax(dim=-2)
    room = farthest - heading.sign() * waist_on_panel(camera, aperture)[:, None]
    return (room / heading.abs().clamp_min(1e-9)).amin(dim=-1).clamp_min(0)
