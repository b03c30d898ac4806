"""The zones about waists that photons penetrate, and rays that come near them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel

FOLDS = (0.0, 3.0, 12.0)
"""Widths of the zones aimed at around a waist, in distances over which transmission falls by e."""


class Zones:
    """Disks about waists that photons pass or penetrate, by energy.

    Args:
        panels: of one stop.
        metal: of the collimator.
    """

    def __init__(self, panels: Sequence[Panel], metal: Medium) -> None:
        self.metal = metal
        self.tangent = max(float(p.holes.tangent.max()) for p in panels)
        self.opening_mm = self.tangent * panels[0].half_plate_mm

    def fold_mm(self, energy_kev: Tensor) -> Tensor:
        """Distance from the edge over which transmission falls by e, [n]."""
        return self.tangent / (2 * self.metal.per_mm(energy_kev))

    def widths_mm(self, energy_kev: Tensor) -> Tensor:
        """How far the disks reach beyond the waist, [3, n]."""
        fold = self.fold_mm(energy_kev)
        return torch.stack([(folds * fold).clamp_max(self.opening_mm) for folds in FOLDS])


def near_waists(panel: Panel, place: Tensor, way: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """Rays (local) that cross the plane of the waists near an aperture, [k], and where, [k, 2]."""
    along = torch.where(way[:, 2].abs() < 1e-12, 1e-12, way[:, 2])
    run = (panel.plane_mm - place[:, 2]) / along
    cross = place[:, :2] + way[:, :2] * run[:, None]
    far = panel.holes.centre.abs().amax(0) + panel.holes.radius.max()
    near = ((cross.abs() <= far + margin[:, None]).all(dim=1) & (run > 0)).nonzero()[:, 0]
    return near, cross[near]
