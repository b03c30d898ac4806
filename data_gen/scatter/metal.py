"""Where the metal of a collimator is about one aperture, and how much of it lies between two points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera


@dataclass(frozen=True)
class Eye:
    """One aperture in its panel's frame: (u, v, h) mm from the panel's middle on the waist plane, h outwards.

    Apertures on a lattice are all open; of apertures placed freely only this one is.
    """

    middle_mm: Tensor
    """The panel's middle on the waist plane, [3]."""
    frame: Tensor
    """Directions u, v and h, [3, 3]."""
    centre: Tensor
    """(u, v) of this aperture's waist, [2]."""
    slope: Tensor
    """(u, v) of this aperture's axis per mm of h, [2]."""
    lattice: Tensor
    """(u, v) of the first and of the second aperture along u and v, [waist or slope, first or second, 2]."""
    count: Tensor
    """Apertures along (u, v), [2]."""
    radius: float
    opening: Tensor
    """Tangents of the half opening angles along (u, v), [2]."""
    round: bool
    half_plate: float
    detector: float
    """h of the detector's face."""
    walls: tuple[Tensor, Tensor]
    """Places of the septa along u and along v, in equal steps, mm."""
    half_wall: float

    @classmethod
    def of(cls, camera: Camera, aperture: int) -> Eye:
        """The eye of one aperture."""
        spec, panel = camera.spec, camera.aperture_panel[aperture]
        frame = torch.stack((camera.panel_u[panel], camera.panel_v[panel], camera.panel_normal[panel]))
        middle = spec.collimator.plane_mm * frame[2] + spec.panels.axial_mm * frame[1]
        centre, slope = _axis(camera, aperture, middle, frame)
        rows, columns = spec.collimator.apertures or (1, 1)
        septa, detector = spec.collimator.septa, spec.detector
        return cls(
            middle_mm=middle.detach(),
            frame=frame.detach(),
            centre=centre,
            slope=slope,
            lattice=_lattice(camera, aperture, middle, frame),
            count=torch.tensor([columns, rows]),
            radius=float(camera.aperture_diameter_mm[aperture].detach()) / 2,
            opening=camera.aperture_opening[aperture].detach(),
            round=camera.shape == "knife_edge",
            half_plate=camera.plate_mm / 2,
            detector=spec.panels.detector_mm - spec.collimator.plane_mm,
            walls=(
                _walls(columns if septa else 1, detector.columns * detector.pitch_mm),
                _walls(rows if septa else 1, detector.rows * detector.pitch_mm),
            ),
            half_wall=spec.collimator.septa_mm / 2,
        )

    def local(self, point_mm: Tensor) -> Tensor:
        """Points [..., 3] of space in the panel's frame."""
        local: Tensor = (point_mm - self.middle_mm) @ self.frame.T
        return local

    def depth(self, point: Tensor) -> Tensor:
        """Signed distance mm from the nearest surface of points (u, v, h), about; positive in metal."""
        height = point[..., 2]
        plate = torch.minimum(self.beside_opening(point), self.half_plate - height.abs())
        behind = torch.minimum(height - self.half_plate, self.detector - height)
        for axis, walls in enumerate(self.walls):
            if len(walls):
                first, step = float(walls[0]), float(walls[-1] - walls[0]) / max(1, len(walls) - 1)
                number = ((point[..., axis] - first) / (step or 1.0)).round().clamp(0, len(walls) - 1)
                off = (point[..., axis] - (first + number * step)).abs()
                plate = torch.maximum(plate, torch.minimum(self.half_wall - off, behind))
        return plate

    def beside_opening(self, point: Tensor) -> Tensor:
        """Signed distance from the aperture's open section at the point's height."""
        height = point[..., 2].abs()
        place = point[..., :2] - self._nearest_axis(point)
        if self.round:
            cone: Tensor = place.norm(dim=-1) - (self.radius + float(self.opening[0]) * height)
            return cone
        share = (height / self.half_plate)[..., None]
        corner = (self.radius + self.opening * self.half_plate).to(point.dtype)
        beyond = place.abs() - corner * share
        flat = beyond.amax(dim=-1).clamp_max(0)
        loft: Tensor = beyond.relu().norm(dim=-1) + flat - self.radius * (1 - share[..., 0])
        return loft

    def _nearest_axis(self, point: Tensor) -> Tensor:
        """(u, v) of the nearest aperture's axis at the height of points, [..., 2]."""
        waist, slope = self.lattice.to(point.dtype)
        first, second = (waist[i] + slope[i] * point[..., 2:] for i in range(2))
        step = second - first
        number = ((point[..., :2] - first) / step).round().clamp_min(0)
        axis: Tensor = first + torch.minimum(number, self.count.to(point.dtype) - 1) * step
        return axis


def metal_share(depth: Tensor) -> Tensor:
    """Share of each step in metal from the signed distances at its ends, [..., step + 1] to [..., step]."""
    inside, size = depth.relu(), depth.abs()
    share: Tensor = (inside[..., 1:] + inside[..., :-1]) / (size[..., 1:] + size[..., :-1] + 1e-12)
    return share


def metal_between(eye: Eye, start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Length mm of metal between points (u, v, h) [..., 3]; steps are finest at the start."""
    share = torch.linspace(0, 1, steps + 1, dtype=start.dtype).square()
    point = start[..., None, :] + share[:, None] * (end - start)[..., None, :]
    inside = (metal_share(eye.depth(point)) * share.diff()).sum(dim=-1)
    length: Tensor = inside * (end - start).norm(dim=-1)
    return length


def _walls(blocks: int, width_mm: float) -> Tensor:
    """Places of the interior boundaries between ``blocks`` equal blocks about 0, mm."""
    return (torch.arange(1, blocks, dtype=torch.float64) / blocks - 0.5) * width_mm


def _axis(camera: Camera, aperture: int, middle: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """(u, v) of an aperture's waist, and its axis's (u, v) per mm of h, [2] each."""
    centre = frame @ (camera.aperture_centre_mm[aperture] - middle)
    axis = frame @ camera.aperture_axis[aperture]
    return centre[:2].detach(), (axis[:2] / axis[2]).detach()


def _lattice(camera: Camera, aperture: int, middle: Tensor, frame: Tensor) -> Tensor:
    """Waist and slope of the panel's first aperture and of its neighbour along both u and v, [2, 2, 2]."""
    counts = camera.spec.collimator.apertures
    if counts is None:
        own = torch.stack(_axis(camera, aperture, middle, frame))
        return torch.stack((own, own + torch.tensor([[1.0], [0.0]])), dim=1)
    rows, columns = counts
    start = int(camera.aperture_panel[aperture]) * rows * columns
    first = torch.stack(_axis(camera, start, middle, frame))
    along_u = torch.stack(_axis(camera, start + min(1, columns - 1), middle, frame))
    along_v = torch.stack(_axis(camera, start + min(1, rows - 1) * columns, middle, frame))
    second = torch.stack((along_u[:, 0], along_v[:, 1]), dim=1)
    alone = torch.tensor([columns == 1, rows == 1])
    second = torch.where(alone, first + torch.tensor([[1.0], [0.0]]), second)
    return torch.stack((first, second), dim=1)
