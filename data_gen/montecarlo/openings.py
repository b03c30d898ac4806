"""Where rays run through the open space of apertures.

In each half of the plate an aperture is a convex body, so a ray crosses it in one piece. The distance from
the body is convex along the ray; Newton's method from outside therefore never steps over the surface.
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
    """Rays through one half of one aperture: place [k, 2] and share of the way to the face [k], both linear
    in the distance run, over ``length`` [k]; and the shape, see ``Holes``."""

    place: Tensor
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
            self.place + self.length[:, None] * self.slope,
            -self.slope,
            self.share + self.length * self.rise,
            -self.rise,
            self.length,
            self.corner,
            self.radius,
            self.growth,
        )

    def outside(self, run: Tensor) -> tuple[Tensor, Tensor]:
        """Distance from the open section after ``run`` [k] mm (at most 0 inside), and its rate of change."""
        place = self.place + run[:, None] * self.slope
        share = self.share + run * self.rise
        beyond = (place.abs() - self.corner * share[:, None]).relu()
        size = beyond.norm(dim=1)
        distance = size - self.radius - self.growth * share
        rate = (beyond * (place.sign() * self.slope - self.corner * self.rise[:, None])).sum(dim=1)
        return distance, rate / size.clamp_min(1e-300) - self.growth * self.rise

    def entry(self) -> Tensor:
        """Distance run until inside the open space, [k]; infinite where rays miss it."""
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


def open_intervals(panel: Panel, place: Tensor, way: Tensor, halves: tuple[Span, Span]) -> Span:
    """Pieces of rays in open space, [n, piece] as distances along them; where a ray has fewer, empty pieces.

    Args:
        panel: the panel.
        place: [n, 3], local.
        way: unit vectors [n, 3], local.
        halves: distances at which each ray is in the front and in the back half of the plate.
    """
    found = [_pieces(panel, place, way, span, side) for span, side in zip(halves, (-1.0, 1.0), strict=True)]
    ray, start, end = (torch.cat(parts) for parts in zip(*found, strict=True))
    ray, order = ray.sort()
    start, end = start[order], end[order]
    count = torch.bincount(ray, minlength=len(place))
    rank = torch.arange(len(ray), device=ray.device) - (count.cumsum(0) - count)[ray]
    width = int(count.max()) if len(ray) else 0
    pad = halves[0][0][:, None].maximum(halves[1][0][:, None]).expand(-1, width)
    starts, ends = pad.clone(), pad.clone()
    starts[ray, rank], ends[ray, rank] = start, end
    return starts, ends


def _pieces(
    panel: Panel, place: Tensor, way: Tensor, span: Span, side: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Ray, start and end of each open piece in the half of the plate on one side (-1 front, 1 back)."""
    ray, hole = _near(panel, place, way, span, side)
    holes, near, height = panel.holes, place[ray], panel.half_plate_mm
    begin = span[0][ray]
    point, turn = near + begin[:, None] * way[ray], way[ray]
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


def _near(panel: Panel, place: Tensor, way: Tensor, span: Span, side: float) -> tuple[Tensor, Tensor]:
    """Pairs (ray, hole) that may meet in one half of the plate: their bounding boxes overlap."""
    holes, half = panel.holes, panel.half_plate_mm
    waist, face = holes.centre, holes.centre + side * half * holes.slope
    at_face = holes.corner + (holes.radius + holes.growth)[:, None]
    low = torch.minimum(waist - holes.radius[:, None], face - at_face)
    high = torch.maximum(waist + holes.radius[:, None], face + at_face)
    first = place[:, :2] + span[0][:, None] * way[:, :2]
    last = place[:, :2] + span[1][:, None] * way[:, :2]
    least, most = torch.minimum(first, last), torch.maximum(first, last)
    near = (span[1] > span[0])[:, None].expand(-1, len(waist))
    for k in range(2):
        near = near & (least[:, k, None] <= high[:, k]) & (most[:, k, None] >= low[:, k])
    ray, hole = near.nonzero().unbind(dim=1)
    return ray, hole
