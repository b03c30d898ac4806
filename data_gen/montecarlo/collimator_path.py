"""Intervals of rays inside the collimator: the plate around its apertures, and the septa.

Input are rays in panel coordinates (mm); output are distances along them at which material begins and ends.
In each half of the plate an aperture is a convex body, so a ray crosses it in one piece, and the distance
from the body is convex along the ray: Newton's method from outside never steps over the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.panel import Panel

_CLOSE_MM = 1e-9
_MOST_STEPS = 40

Span = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Crossings:
    """Rays through one half of one aperture, parametrised by the distance travelled.

    Position [k, 2] and height as a fraction of that of the plate's face [k] are linear in the distance, over
    ``length`` [k]; ``corner``, ``radius`` and ``growth`` are those of ``Holes``.
    """

    position: Tensor
    slope: Tensor
    share: Tensor
    rise: Tensor
    length: Tensor
    corner: Tensor
    radius: Tensor
    growth: Tensor

    def take(self, index: Tensor) -> _Crossings:
        return _Crossings(*(part[index] for part in vars(self).values()))

    def backwards(self) -> _Crossings:
        return _Crossings(
            self.position + self.length[:, None] * self.slope,
            -self.slope,
            self.share + self.length * self.rise,
            -self.rise,
            self.length,
            self.corner,
            self.radius,
            self.growth,
        )

    def outside(self, run: Tensor) -> tuple[Tensor, Tensor]:
        """Distance from the open section after ``run`` [k] mm (at most 0 inside), and its derivative."""
        position = self.position + run[:, None] * self.slope
        share = self.share + run * self.rise
        beyond = (position.abs() - self.corner * share[:, None]).relu()
        size = beyond.norm(dim=1)
        distance = size - self.radius - self.growth * share
        rate = (beyond * (position.sign() * self.slope - self.corner * self.rise[:, None])).sum(dim=1)
        return distance, rate / size.clamp_min(1e-300) - self.growth * self.rise

    def entry(self) -> Tensor:
        """Distance to the open space, [k]; infinite where rays miss it."""
        found = torch.full_like(self.length, torch.inf)
        index, rays, run = torch.arange(len(found), device=found.device), self, torch.zeros_like(found)
        for _ in range(_MOST_STEPS):
            distance, rate = rays.outside(run)
            inside = distance <= _CLOSE_MM
            found[index[inside]] = run[inside]
            step = run - distance / rate
            left = (~inside & (rate < 0) & (step < rays.length)).nonzero()[:, 0]
            index, rays, run = index[left], rays.take(left), step[left]
            if not len(left):
                break
        found[index] = run
        return found


def open_intervals(panel: Panel, position: Tensor, direction: Tensor, halves: tuple[Span, Span]) -> Span:
    """Open intervals of rays, [n, piece] as distances along them; padded by empty intervals.

    Args:
        panel: the panel.
        position: [n, 3], panel coordinates.
        direction: unit vectors [n, 3], panel coordinates.
        halves: intervals in which each ray is in the front and in the back half of the plate.
    """
    found = [
        _pieces(panel, position, direction, span, side)
        for span, side in zip(halves, (-1.0, 1.0), strict=True)
    ]
    ray, start, end = (torch.cat(parts) for parts in zip(*found, strict=True))
    ray, order = ray.sort()
    start, end = start[order], end[order]
    count = torch.bincount(ray, minlength=len(position))
    rank = torch.arange(len(ray), device=ray.device) - (count.cumsum(0) - count)[ray]
    width = int(count.max()) if len(ray) else 0
    pad = halves[0][0][:, None].maximum(halves[1][0][:, None]).expand(-1, width)
    starts, ends = pad.clone(), pad.clone()
    starts[ray, rank], ends[ray, rank] = start, end
    return starts, ends


def _pieces(
    panel: Panel, position: Tensor, direction: Tensor, span: Span, side: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Ray, start and end of each open interval in one half of the plate (side -1 front, 1 back)."""
    ray, hole = _near(panel, position, direction, span, side)
    holes, near, height = panel.holes, position[ray], panel.half_plate_mm
    begin = span[0][ray]
    point, turn = near + begin[:, None] * direction[ray], direction[ray]
    above = point[:, 2] - panel.plane_mm
    slope = holes.slope[hole]
    crossings = _Crossings(
        point[:, :2] - holes.centre[hole] - slope * above[:, None],
        turn[:, :2] - slope * turn[:, 2:],
        side * above / height,
        side * turn[:, 2] / height,
        span[1][ray] - begin,
        holes.corner[hole],
        holes.radius[hole],
        holes.growth[hole],
    )
    enter = crossings.entry()
    met = enter.isfinite().nonzero()[:, 0]
    crossings, enter, begin = crossings.take(met), enter[met], begin[met]
    leave = crossings.length - crossings.backwards().entry().clamp_max(1e300)
    return ray[met], begin + enter, begin + torch.maximum(leave, enter)


def _near(
    panel: Panel, position: Tensor, direction: Tensor, span: Span, side: float
) -> tuple[Tensor, Tensor]:
    """Pairs (ray, aperture) that may meet in one half of the plate, since their bounding boxes overlap."""
    holes, half = panel.holes, panel.half_plate_mm
    waist, face = holes.centre, holes.centre + side * half * holes.slope
    at_face = holes.corner + (holes.radius + holes.growth)[:, None]
    low = torch.minimum(waist - holes.radius[:, None], face - at_face)
    high = torch.maximum(waist + holes.radius[:, None], face + at_face)
    first = position[:, :2] + span[0][:, None] * direction[:, :2]
    last = position[:, :2] + span[1][:, None] * direction[:, :2]
    least, most = torch.minimum(first, last), torch.maximum(first, last)
    near = (span[1] > span[0])[:, None].expand(-1, len(waist))
    for k in range(2):
        near = near & (least[:, k, None] <= high[:, k]) & (most[:, k, None] >= low[:, k])
    ray, hole = near.nonzero().unbind(dim=1)
    return ray, hole


@dataclass(frozen=True)
class CollimatorPath:
    """Intervals of rays inside material, as distances along them, ascending and disjoint.

    Args:
        start: [n, piece] mm.
        end: [n, piece] mm.
    """

    start: Tensor
    end: Tensor

    def take(self, index: Tensor) -> CollimatorPath:
        """The intervals of some rays."""
        return CollimatorPath(self.start[index], self.end[index])

    @property
    def length_mm(self) -> Tensor:
        """Path length in material, [n]."""
        return (self.end - self.start).sum(dim=1)

    def distance_at(self, depth_mm: Tensor) -> Tensor:
        """Distance along each ray at which it has crossed ``depth_mm`` [n] of material."""
        before = (self.end - self.start).cumsum(dim=1)
        piece = (before < depth_mm[:, None]).sum(dim=1, keepdim=True).clamp_max(before.shape[1] - 1)
        left = before.gather(1, piece) - depth_mm[:, None]
        return (self.end.gather(1, piece) - left)[:, 0]


def collimator_path(panel: Panel, position: Tensor, direction: Tensor) -> CollimatorPath:
    """Material on rays from ``position`` [n, 3] along ``direction`` [n, 3] to the detector, in panel
    coordinates.
    """
    along = torch.where(direction[:, 2].abs() < 1e-6, 1e-6, direction[:, 2])
    heights = panel.plane_mm + position.new_tensor((-panel.half_plate_mm, 0.0, panel.half_plate_mm))
    front, waist, back = ((height - position[:, 2]) / along for height in heights)
    face = (panel.detector_mm - position[:, 2]) / along
    halves = (_span(front, waist), _span(waist, back))
    start, end = open_intervals(panel, position, direction, halves)
    start, end = disjoint(start, end)
    enter, leave = _span(front, back)
    # Material of the plate is what lies between the open pieces.
    pieces_from = torch.cat((enter[:, None], end), dim=1)
    pieces_to = torch.cat((start, leave[:, None]), dim=1)
    wall_from, wall_to = _in_walls(panel, position, direction, _span(back, face))
    pieces_from = torch.cat((pieces_from.clamp_min(enter[:, None]), wall_from), dim=1)
    pieces_to = torch.cat((pieces_to.clamp_max(leave[:, None]), wall_to), dim=1)
    return CollimatorPath(*disjoint(pieces_from, torch.maximum(pieces_from, pieces_to)))


def disjoint(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The union of intervals [n, k] as sorted, disjoint intervals."""
    if start.shape[1] < 2:
        return start, end
    start, order = start.sort(dim=1)
    end = end.gather(1, order)
    reach = end.cummax(dim=1).values
    start = torch.cat((start[:, :1], torch.maximum(start[:, 1:], reach[:, :-1])), dim=1)
    return start, torch.maximum(start, end)


def _span(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The part ahead of a ray between two distances."""
    return torch.minimum(first, second).clamp_min(0), torch.maximum(first, second).clamp_min(0)


def _in_walls(
    panel: Panel, position: Tensor, direction: Tensor, gap: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Intervals of the span ``gap`` inside septa, [n, septum] each; crossing septa overlap."""
    starts, ends = [], []
    for axis, walls in enumerate(panel.walls):
        along = direction[:, axis, None]
        along = torch.where(along.abs() < 1e-9, 1e-9, along)
        near = (walls - panel.half_wall_mm - position[:, axis, None]) / along
        far = (walls + panel.half_wall_mm - position[:, axis, None]) / along
        start = torch.maximum(torch.minimum(near, far), gap[0][:, None])
        end = torch.minimum(torch.maximum(near, far), gap[1][:, None])
        starts.append(start.clamp_max(gap[1][:, None]))
        ends.append(torch.maximum(end, starts[-1]))
    return torch.cat(starts, dim=1), torch.cat(ends, dim=1)
