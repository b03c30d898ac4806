"""Secondary photons in the 3x3 pixels around a first interaction: escape, or place of the next interaction.

Lengths are in mm, attenuation in 1/mm; straight paths with exponential attenuation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_DIRECTIONS, _GOLDEN = 8, (math.sqrt(5) - 1) / 2
"""Directions over which an isotropic mean is taken (chosen, no source), and the golden ratio that spreads
their azimuths.
"""


@dataclass(frozen=True)
class Block:
    """The 3x3 pixels around a first interaction: the crystal's full depth, ``width_mm`` wide.

    Charge created within ``margin_mm`` beside them still reaches them.
    """

    thickness_mm: Tensor
    width_mm: Tensor
    margin_mm: Tensor

    def first(self, places: Tensor, attenuation_per_mm: Tensor) -> Tensor:
        """First interactions in the middle pixel of photons that arrive along the depth.

        Args:
            places: evenly spread in the unit cube, [point, 3]. By symmetry a quarter of the pixel suffices.
            attenuation_per_mm: attenuation of the photons, [line].

        Returns:
            Positions [line, point, 3], equally likely.
        """
        attenuation = attenuation_per_mm[:, None]
        stopped = places[:, 2] * -torch.expm1(-attenuation * self.thickness_mm)
        depth = -torch.log1p(-stopped) / attenuation
        beside = (self.width_mm / 6 * places[:, :2]).expand(*depth.shape, 2)
        return torch.cat((beside, depth[..., None]), dim=-1)

    def to_face_mm(self, position: Tensor, direction: Tensor) -> Tensor:
        """Distance to the exit through a face, [...] for vectors [..., 3].

        Vectors are (row, column, depth) in mm from the middle of the entrance face.
        """
        depth = position[..., 2]
        ahead = torch.where(direction[..., 2] > 0, self.thickness_mm - depth, depth)
        return ahead / direction[..., 2].abs().clamp_min(1e-9)

    def to_side_mm(self, position: Tensor, direction: Tensor, margin_mm: Tensor) -> Tensor:
        """Distance to the exit through a side of the block with a margin, 0 from beyond it."""
        gone = position[..., :2] * direction[..., :2].sign()
        ahead = (self.width_mm / 2 + margin_mm - gone).clamp_min(0)
        return (ahead / direction[..., :2].abs().clamp_min(1e-9)).amin(dim=-1)

    def flight(
        self, position: Tensor, direction: Tensor, attenuation_per_mm: Tensor, place: Tensor
    ) -> Flight:
        """Escape or interaction of photons that leave ``position`` along ``direction``, [..., 3] each.

        ``place`` [...] in (0, 1) is the quantile of the distance of those that interact.
        """
        face = self.to_face_mm(position, direction)
        wide = torch.minimum(face, self.to_side_mm(position, direction, self.margin_mm))
        side = torch.minimum(face, self.to_side_mm(position, direction, torch.zeros_like(self.margin_mm)))
        escape = torch.exp(-attenuation_per_mm * wide)
        distant = torch.exp(-attenuation_per_mm * side) - torch.exp(-attenuation_per_mm * face)
        reached = -torch.log1p(-place * (1 - escape)) / attenuation_per_mm
        return Flight(escape, distant, position + reached[..., None] * direction)

    def isotropic_escape(self, position: Tensor, attenuation_per_mm: Tensor, places: Tensor) -> Tensor:
        """Probability to leave the block and its margin, averaged over directions, [...] for positions [...,
        3].

        ``places`` [point, 2] in (0, 1) rotate the set of directions from point to point.
        """
        total = torch.zeros(position.shape[:-1], dtype=torch.float64)
        for k in range(_DIRECTIONS):
            cosine = 2 * ((places[:, 0] + k / _DIRECTIONS) % 1) - 1
            way = direction(cosine, (places[:, 1] + _GOLDEN * k) % 1)
            wide = self.to_side_mm(position, way, self.margin_mm)
            way_out = torch.minimum(self.to_face_mm(position, way), wide)
            total = total + torch.exp(-attenuation_per_mm * way_out)
        return total / _DIRECTIONS


@dataclass(frozen=True)
class Flight:
    """Fate of secondary photons.

    Args:
        escape: probability to leave the block and its margin, [...].
        distant: probability to interact in the crystal beyond the block, [...].
        end: where photons that stay interact, [..., 3].
    """

    escape: Tensor
    distant: Tensor
    end: Tensor


def direction(cosine: Tensor, turn: Tensor) -> Tensor:
    """Unit vectors (row, column, depth) [..., 3] from the cosine to the depth and the azimuth in
    full turns.
    """
    sine = (1 - cosine**2).clamp_min(0).sqrt()
    azimuth = 2 * math.pi * turn
    return torch.stack(torch.broadcast_tensors(sine * azimuth.cos(), sine * azimuth.sin(), cosine), dim=-1)
