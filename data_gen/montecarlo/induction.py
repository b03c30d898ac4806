"""Signal that charge induces on a small square pixel on its way to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

_IMAGES = 200
_FINE = 4000
_DEPTHS = 401


@dataclass(frozen=True)
class InductionTable:
    """Induced over created charge at even depths from the cathode (0) to the anode, [depth]."""

    thickness_mm: float
    value: Tensor

    def at(self, depth_mm: Tensor) -> Tensor:
        """Induced over created charge at depths [n]."""
        table = self.value.to(depth_mm.device)
        place = (depth_mm / self.thickness_mm * (_DEPTHS - 1)).clamp(0, _DEPTHS - 1 - 1e-9)
        low = place.to(torch.int64)
        return table[low] + (place - low) * (table[low + 1] - table[low])


@cache
def induction_table(
    thickness_mm: float,
    pitch_mm: float,
    bias_v: float,
    mu_tau_electron_cm2_v: float,
    mu_tau_hole_cm2_v: float,
) -> InductionTable:
    """The table of a crystal under a uniform field; trapped charge stops where it is.

    eta(x) = integral from x to d of w' exp(-(s - x) / l_e) ds
           + integral from 0 to x of w' exp(-(x - s) / l_h) ds, with the trapping lengths l = mu tau V / d.
    """
    depth = thickness_mm * (1 - np.linspace(1, 0, _FINE + 1) ** 2)  # fine towards the anode
    potential = weighting_potential(depth, thickness_mm, pitch_mm)
    middle, rise = (depth[1:] + depth[:-1]) / 2, np.diff(potential)
    electron, hole = (100 * m * bias_v / thickness_mm for m in (mu_tau_electron_cm2_v, mu_tau_hole_cm2_v))
    x = np.linspace(0, thickness_mm, _DEPTHS)[:, None]
    to_anode, to_cathode = np.clip(middle - x, 0, None), np.clip(x - middle, 0, None)
    value = rise * np.exp(-to_anode / electron - to_cathode / hole)
    return InductionTable(thickness_mm, torch.from_numpy(value.sum(axis=1)))


def weighting_potential(depth_mm: np.ndarray, thickness_mm: float, pitch_mm: float) -> np.ndarray:
    """Potential on the axis of a square pixel at 1 V, all else at 0 V, by images of its solid angle.

    Seen alone in a half space, a square is at potential (solid angle) / 2 pi; images in the two planes of
    the electrodes, 2 d apart, put both at their voltages.
    """
    above = thickness_mm - np.asarray(depth_mm, dtype=float)
    total = np.zeros_like(above)
    for k in range(-_IMAGES, _IMAGES + 1):
        height = above + 2 * k * thickness_mm
        away = np.maximum(np.abs(height), 1e-12)
        angle = 4 * np.arctan(pitch_mm**2 / (2 * away * np.sqrt(4 * away**2 + 2 * pitch_mm**2)))
        total += np.where(height < 0, -1.0, 1.0) * angle / (2 * math.pi)
    return total
