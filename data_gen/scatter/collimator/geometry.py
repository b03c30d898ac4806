"""Geometry of the collimator around one aperture: signed distances to its surfaces, and path lengths in
metal, mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera


@dataclass(frozen=True)
class ApertureGeometry:
    """One aperture in its panel's frame: (u, v, h) mm from the panel's middle on the waist plane, h outwards.

    Apertures on a lattice are all open; of apertures placed freely only this one is.
    """

    number: int
    """Index of the aperture, which seeds the random numbers around it."""
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
    def of(cls, camera: Camera, aperture: int) -> ApertureGeometry:
        """The geometry around one aperture of a camera."""
        spec, panel = camera.spec, camera.aperture_panel[aperture]
        frame = torch.stack((camera.panel_u[panel], camera.panel_v[panel], camera.panel_normal[panel]))
        middle = spec.collimator.plane_mm * frame[2] + spec.panels.axial_mm * frame[1]
        centre, slope = _axis(camera, aperture, middle, frame)
        rows, columns = spec.collimator.apertures or (1, 1)
        septa, detector = spec.collimator.septa, spec.detector
        return cls(
            number=aperture,
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
        """Signed distance mm of points [..., 3] from the nearest surface, about; positive in metal."""
        return self.depth_at(*point.unbind(dim=-1))

    def depth_at(self, u: Tensor, v: Tensor, h: Tensor) -> Tensor:
        """:meth:`depth` of points by their components."""
        plate = torch.minimum(self.beside_opening(u, v, h), self.half_plate - h.abs())
        behind = torch.minimum(h - self.half_plate, self.detector - h)
        for place, walls in zip((u, v), self.walls, strict=True):
            if len(walls):
                off = _nearest(place, walls)[1].abs()
                plate = torch.maximum(plate, torch.minimum(self.half_wall - off, behind))
        return plate

    def share_in_septa(self, start: Tensor, end: Tensor) -> Tensor:
        """Share of lines between points [..., 3] behind the plate that lies in septa; where walls along u and
        along v may cross, as if one knew nothing of the other."""
        free = torch.ones_like(start[..., 0])
        for axis, walls in enumerate(self.walls):
            if len(walls):
                low, high = (self._walls_below(point[..., axis], walls) for point in (start, end))
                way = end[..., axis] - start[..., axis]
                upright = way.abs() < 1e-4
                slanted = (high - low) / torch.where(upright, 1.0, way)
                free = free * (1 - torch.where(upright, self._in_wall(start[..., axis], walls), slanted))
        return 1 - free

    def _walls_below(self, place: Tensor, walls: Tensor) -> Tensor:
        """Thickness mm of the walls below places."""
        number, off = _nearest(place, walls)
        width = 2 * self.half_wall
        below: Tensor = number * width + (off + self.half_wall).clamp(0, width)
        return below

    def _in_wall(self, place: Tensor, walls: Tensor) -> Tensor:
        """Whether places are in a wall, 1 or 0."""
        return (_nearest(place, walls)[1].abs() < self.half_wall).to(place.dtype)

    def beside_opening(self, u: Tensor, v: Tensor, h: Tensor) -> Tensor:
        """Signed distance of points from the nearest aperture's open section at their height."""
        beside = [self._from_axis(axis, place, h).abs() for axis, place in enumerate((u, v))]
        height = h.abs()
        if self.round:
            return torch.hypot(*beside) - (self.radius + float(self.opening[0]) * height)
        share = height / self.half_plate
        corner = (self.radius + self.opening * self.half_plate).tolist()
        beyond = [place - edge * share for place, edge in zip(beside, corner, strict=True)]
        flat = torch.maximum(*beyond).clamp_max(0)
        loft: Tensor = torch.hypot(*(b.relu() for b in beyond)) + flat - self.radius * (1 - share)
        return loft

    def _from_axis(self, along: int, place: Tensor, h: Tensor) -> Tensor:
        """Distance along u (0) or v (1) from the nearest aperture's axis at the height of points."""
        (waist, next_waist), (slope, next_slope) = self.lattice[:, :, along].tolist()
        first = waist + slope * h
        step = (next_waist - waist) + (next_slope - slope) * h
        number = ((place - first) / step).round().clamp(0, int(self.count[along]) - 1)
        off: Tensor = place - first - number * step
        return off


def _nearest(place: Tensor, walls: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the wall nearest to each place, and the place from its middle, mm."""
    first, step = float(walls[0]), float(walls[-1] - walls[0]) / max(1, len(walls) - 1)
    number = ((place - first) / (step or 1.0)).round().clamp(0, len(walls) - 1)
    return number, place - (first + number * step)


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


def metal_share(depth: Tensor) -> Tensor:
    """Fraction of each step in metal from the signed distances at its ends, [..., step + 1] to
    [..., step].
    """
    inside, size = depth.relu(), depth.abs()
    share: Tensor = (inside[..., 1:] + inside[..., :-1]) / (size[..., 1:] + size[..., :-1] + 1e-12)
    return share


def path_in_collimator(geometry: ApertureGeometry, start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Path length mm in metal between points (u, v, h) [..., 3] and others on or in the detector.

    Septa are cut exactly, the plate is integrated in steps that are finest at the start.
    """
    way = end - start
    rise = way[..., 2].clamp_min(1e-6)
    leaves, arrives = (
        ((h - start[..., 2]) / rise).clamp(0, 1) for h in (geometry.half_plate, geometry.detector)
    )
    share = torch.linspace(0, 1, steps + 1, dtype=start.dtype).square()
    along = leaves[..., None] * share
    point = (start[..., i, None] + along * way[..., i, None] for i in range(3))
    in_plate = (metal_share(geometry.depth_at(*point)) * share.diff()).sum(dim=-1)
    gap = (start + share[..., None] * way for share in (leaves, arrives))
    in_septa = geometry.share_in_septa(*gap)
    length: Tensor = (leaves * in_plate + (arrives - leaves) * in_septa) * way.norm(dim=-1)
    return length
