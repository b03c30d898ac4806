"""Geometry of one camera panel in its own coordinates, and the panels of each rotation position.

Lengths are in mm. All numbers are read from a ``Camera``; nothing is computed with its code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.montecarlo.photons import Photons


@dataclass(frozen=True)
class Holes:
    """Apertures of a panel.

    At a fraction l of the height from waist to face, the open section is a rectangle of half sizes ``corner``
    l with corners rounded by ``radius + growth`` l, about a centre that moves with ``slope``.
    """

    centre: Tensor
    """Centre of the waist along (u, v), [hole, 2] mm."""
    slope: Tensor
    """Displacement of the axis per mm along the normal, [hole, 2]."""
    radius: Tensor
    """Radius of the waist, [hole] mm."""
    corner: Tensor
    """[hole, 2] mm."""
    growth: Tensor
    """[hole] mm."""
    tangent: Tensor
    """Largest tangent of the half opening angle, [hole]."""


@dataclass(frozen=True)
class Panel:
    """One panel: collimator and detector.

    Coordinates (a, b, c) run along (u, v, normal) from the foot of the normal through the detector's
    middle; c is the distance from the isocentre's plane. Lengths in mm.
    """

    axes: Tensor
    """Rows u, v, normal, [3, 3]."""
    middle: Tensor
    """Middle of the detector's entrance face in space, [3]."""
    detector_mm: float
    """c of the entrance face."""
    half_size: tuple[float, float]
    """Half sizes of the detector along (u, v)."""
    depth_mm: float
    """Thickness of the detector."""
    pitch_mm: float
    columns: int
    first_pixel: int
    plane_mm: float
    """c of the waists."""
    half_plate_mm: float
    holes: Holes
    walls: tuple[Tensor, Tensor]
    """Positions of the septa along u and along v."""
    half_wall_mm: float

    def local(self, photons: Photons) -> Photons:
        """Photons in this panel's coordinates."""
        position, direction = self.turned(photons.position, photons.direction)
        return photons.with_fields(
            position=position,
            direction=direction,
            first_pixel=torch.full_like(photons.first_pixel, self.first_pixel),
        )

    def turned(self, position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Places and directions [n, 3] in this panel's coordinates."""
        position = (position - self.middle) @ self.axes.T
        position[:, 2] += self.detector_mm
        return position, direction @ self.axes.T

    def same_shape(self, other: Panel) -> bool:
        """Whether another panel is identical in its own coordinates."""
        near = all(
            a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-9)
            for a, b in zip(vars(self.holes).values(), vars(other.holes).values(), strict=True)
        )
        return (
            near
            and math.isclose(self.plane_mm, other.plane_mm)
            and math.isclose(self.detector_mm, other.detector_mm)
        )

    def to_crystal_mm(self, position: Tensor, direction: Tensor) -> Tensor:
        """Distance along outward rays (panel coordinates) to the face or a side of the crystal, [n]; infinite
        where they miss it.
        """
        half_a, half_b = self.half_size
        low = position.new_tensor((-half_a, -half_b, self.detector_mm))
        high = position.new_tensor((half_a, half_b, self.detector_mm + self.depth_mm))
        along = torch.where(direction.abs() < 1e-12, 1e-12, direction)
        one, other = (low - position) / along, (high - position) / along
        enter, leave = torch.minimum(one, other).amax(dim=1), torch.maximum(one, other).amin(dim=1)
        return torch.where((direction[:, 2] > 0) & (enter >= 0) & (leave > enter), enter, torch.inf)

    def on_face(self, position: Tensor, direction: Tensor) -> Tensor:
        """(a, b) where rays (panel coordinates) cross the plane of the entrance face, [n, 2]."""
        along = torch.where(direction[:, 2].abs() < 1e-12, 1e-12, direction[:, 2])
        return position[:, :2] + direction[:, :2] * ((self.detector_mm - position[:, 2]) / along)[:, None]

    def pixel(self, position: Tensor) -> Tensor:
        """Index of the pixel at points [n, >=2] (panel coordinates) of the detector, [n] int64 from 0."""
        size = position.new_tensor(self.half_size)
        column, row = ((position[:, :2] + size) / self.pitch_mm).floor().to(torch.int64).unbind(dim=1)
        rows = round(2 * self.half_size[1] / self.pitch_mm)
        return row.clamp(0, rows - 1) * self.columns + column.clamp(0, self.columns - 1)


def rotation_positions(camera: Camera, device: torch.device) -> list[list[Panel]]:
    """The panels at each rotation position of a camera; a camera that does not rotate has one."""
    rotation = camera.spec.panels.rotation
    count = rotation.steps if rotation else 1
    each = camera.panels // count
    return [[_panel(camera, step * each + k, device) for k in range(each)] for step in range(count)]


def _panel(camera: Camera, index: int, device: torch.device) -> Panel:
    """A panel's geometry from the camera's tensors."""
    plate, detector = camera.spec.collimator, camera.spec.detector
    axes = torch.stack((camera.panel_u[index], camera.panel_v[index], camera.panel_normal[index])).detach()
    pixels = detector.rows * detector.columns
    middle = camera.pixel_centre_mm[index * pixels : (index + 1) * pixels].detach().mean(dim=0)
    own = camera.aperture_panel == index
    centre = (camera.aperture_centre_mm[own].detach() - middle) @ axes.T
    distance = float(middle @ axes[2])
    holes = _holes(camera, own, centre[:, :2], axes)
    blocks = plate.apertures if plate.septa and plate.apertures else (1, 1)
    size = (detector.columns * camera.pitch_mm / 2, detector.rows * camera.pitch_mm / 2)
    walls = (_walls(blocks[1], size[0]), _walls(blocks[0], size[1]))
    return Panel(
        axes=axes.to(device),
        middle=middle.to(device),
        detector_mm=distance,
        half_size=size,
        depth_mm=camera.detector_thickness_mm,
        pitch_mm=camera.pitch_mm,
        columns=detector.columns,
        first_pixel=index * pixels,
        plane_mm=distance + float(centre[:, 2].mean()),
        half_plate_mm=plate.plate_mm / 2,
        holes=Holes(*(part.to(device) for part in holes)),
        walls=(walls[0].to(device), walls[1].to(device)),
        half_wall_mm=plate.septa_mm / 2,
    )


def _holes(camera: Camera, own: Tensor, centre: Tensor, axes: Tensor) -> tuple[Tensor, ...]:
    """Fields of :class:`Holes` for the apertures of a mask."""
    axis = camera.aperture_axis[own].detach() @ axes.T
    radius = camera.aperture_diameter_mm[own].detach() / 2
    tangent = camera.aperture_opening[own].detach()
    half = camera.plate_mm / 2
    if camera.shape == "knife_edge":
        corner, growth = torch.zeros_like(tangent), tangent[:, 0] * half
        tangent = tangent[:, :1]
    else:
        corner, growth = radius[:, None] + tangent * half, -radius
    return centre, axis[:, :2] / axis[:, 2:], radius, corner, growth, tangent.norm(dim=1)


def _walls(blocks: int, half_size: float) -> Tensor:
    """Boundaries between ``blocks`` equal blocks of pixels."""
    return torch.linspace(-half_size, half_size, blocks + 1, dtype=torch.float64)[1:-1]
