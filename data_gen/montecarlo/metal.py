"""Where rays run through the collimator's material: plate around its apertures, and septa."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.openings import open_intervals
from data_gen.montecarlo.panel import Panel


@dataclass(frozen=True)
class MetalPath:
    """Pieces of rays inside material, as distances along them, rising and disjoint: [n, piece] mm each."""

    start: Tensor
    end: Tensor

    def take(self, index: Tensor) -> MetalPath:
        """Those of some rays."""
        return MetalPath(self.start[index], self.end[index])

    @property
    def length_mm(self) -> Tensor:
        """All of it, [n]."""
        return (self.end - self.start).sum(dim=1)

    def distance_at(self, depth_mm: Tensor) -> Tensor:
        """Distance along rays where they have run through ``depth_mm`` [n] of material."""
        before = (self.end - self.start).cumsum(dim=1)
        piece = (before < depth_mm[:, None]).sum(dim=1, keepdim=True).clamp_max(before.shape[1] - 1)
        left = before.gather(1, piece) - depth_mm[:, None]
        return (self.end.gather(1, piece) - left)[:, 0]


def metal_path(panel: Panel, place: Tensor, way: Tensor) -> MetalPath:
    """Material on rays (local) from ``place`` [n, 3] along ``way`` [n, 3] up to the detector."""
    along = torch.where(way[:, 2].abs() < 1e-6, 1e-6, way[:, 2])
    heights = panel.plane_mm + place.new_tensor((-panel.half_plate_mm, 0.0, panel.half_plate_mm))
    front, waist, back = ((height - place[:, 2]) / along for height in heights)
    face = (panel.detector_mm - place[:, 2]) / along
    halves = (_span(front, waist), _span(waist, back))
    start, end = open_intervals(panel, place, way, halves)
    start, end = disjoint(start, end)
    enter, leave = _span(front, back)
    # Material of the plate is what lies between the open pieces.
    pieces_from = torch.cat((enter[:, None], end), dim=1)
    pieces_to = torch.cat((start, leave[:, None]), dim=1)
    wall_from, wall_to = _in_walls(panel, place, way, _span(back, face))
    pieces_from = torch.cat((pieces_from.clamp_min(enter[:, None]), wall_from), dim=1)
    pieces_to = torch.cat((pieces_to.clamp_max(leave[:, None]), wall_to), dim=1)
    return MetalPath(*disjoint(pieces_from, torch.maximum(pieces_from, pieces_to)))


def disjoint(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The same union of intervals [n, k], sorted, with what overlaps counted once."""
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


def _in_walls(panel: Panel, place: Tensor, way: Tensor, gap: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Pieces of the span ``gap`` inside septa, [n, wall] each; walls that cross each other overlap."""
    starts, ends = [], []
    for axis, walls in enumerate(panel.walls):
        along = way[:, axis, None]
        along = torch.where(along.abs() < 1e-9, 1e-9, along)
        near = (walls - panel.half_wall_mm - place[:, axis, None]) / along
        far = (walls + panel.half_wall_mm - place[:, axis, None]) / along
        start = torch.maximum(torch.minimum(near, far), gap[0][:, None])
        end = torch.minimum(torch.maximum(near, far), gap[1][:, None])
        starts.append(start.clamp_max(gap[1][:, None]))
        ends.append(torch.maximum(end, starts[-1]))
    return torch.cat(starts, dim=1), torch.cat(ends, dim=1)
