"""Quadrature nodes in the plate around an aperture, as dense as photons are transmitted. Lengths in mm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_STEPS = 2000
"""Distances at which the number of rays is tabulated; chosen, no source."""
_FURTHEST_MM = 1000.0
"""Largest tabulated distance, beyond any plate."""
_SOFTENED = 0.75
"""Exponent of the transmission that rays follow: oblique rays cross other paths than is assumed here."""


class Rings(nn.Module):
    """Density of rays over the distance from where the plate begins, outwards.

    Rays follow area times transmission, so that each stands for about as many photons: near the
    opening where the plate is opaque, evenly where it is thin.

    Args:
        first_mm: distance from the aperture's centre at which the plate begins.
        optical_per_mm: increase of its optical thickness from there, 1/mm.
        most_optical: largest optical thickness.
    """

    def __init__(self, first_mm: float, optical_per_mm: float, most_optical: float) -> None:
        super().__init__()
        self.first_mm, self.optical_per_mm, self.most_optical = first_mm, optical_per_mm, most_optical
        finest = min(1.0, 1 / optical_per_mm) / 50
        distance = torch.logspace(math.log10(finest), math.log10(_FURTHEST_MM), _STEPS, dtype=torch.float64)
        distance = torch.cat((distance.new_zeros(1), distance))
        step = self._rate((distance[1:] + distance[:-1]) / 2) * distance.diff()
        self.distance_mm = nn.Buffer(distance, persistent=False)
        self.rays = nn.Buffer(torch.cat((step.new_zeros(1), step.cumsum(0))), persistent=False)

    distance_mm: Tensor
    """Distance in mm from where the plate begins, rising from 0, [step + 1]."""
    rays: Tensor
    """Cumulative number of rays up to each distance, in any unit, [step + 1]."""

    def _rate(self, distance_mm: Tensor) -> Tensor:
        """Rays for each mm."""
        optical = (self.optical_per_mm * distance_mm).clamp_max(self.most_optical)
        return (self.first_mm + distance_mm) * torch.exp(-_SOFTENED * optical)

    def nodes(self, first_mm: Tensor, last_mm: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes of rays between two distances from the centre; they move with both.

        Args:
            first_mm: where the plate begins, [k, 1].
            last_mm: where it ends, [k, ray].
            share: quantile of each ray in 0..1, [k, ray].

        Returns:
            Distance from the centre mm and area mm2, [k, ray] each.
        """
        even = self.distance_mm.diff() / self.rays.diff()
        reach = last_mm - first_mm
        step = self._step(self.distance_mm, reach)
        total = self.rays[step] + (reach - self.distance_mm[step]) / even[step]
        wanted = share * total
        step = self._step(self.rays, wanted)
        distance = self.distance_mm[step] + (wanted - self.rays[step]) * even[step]
        radius = first_mm + distance
        return radius, 2 * math.pi * radius * total / (self._rate(distance) * share.shape[-1])

    @staticmethod
    def _step(ends: Tensor, value: Tensor) -> Tensor:
        """Step that each value lies in."""
        step = torch.searchsorted(ends, value.detach().contiguous(), right=True) - 1
        return step.clamp(0, len(ends) - 2)
