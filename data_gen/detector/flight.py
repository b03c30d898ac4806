"""Photons on their way inside the 3x3 pixels around a first interaction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """The 3x3 pixels around a first interaction: the crystal's full depth, ``width_mm`` wide."""

    thickness_mm: Tensor
    width_mm: Tensor

    def first_depth_mm(self, place: Tensor, attenuation_per_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Depths [point] for even places [point] in (0, 1), and their weights [line, point] per line.

        Half of all points lie in the first quarter of the crystal, where soft photons stop.
        """
        depth = self.thickness_mm * place**2
        weight = place * torch.exp(-attenuation_per_mm[:, None] * depth)
        return depth, weight

    def to_surface_mm(self, position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Way out through a face, and through a side of the block: [...] each for vectors [..., 3].

        Vectors are (row, column, depth) in mm from the middle of the entrance face.
        """
        rate = direction.abs().clamp_min(1e-9)
        depth = position[..., 2]
        face = torch.where(direction[..., 2] > 0, self.thickness_mm - depth, depth) / rate[..., 2]
        ahead = position[..., :2] * direction[..., :2].sign()
        side = ((self.width_mm / 2 - ahead) / rate[..., :2]).amin(dim=-1)
        return face, side

    def flight(
        self, position: Tensor, direction: Tensor, attenuation_per_mm: Tensor, place: Tensor
    ) -> Flight:
        """Escape or interaction of photons that leave ``position`` along ``direction``, [..., 3] each.

        ``place`` [...] in (0, 1) says how far photons get that interact, in even steps of probability.
        """
        face, side = self.to_surface_mm(position, direction)
        escape = torch.exp(-attenuation_per_mm * torch.minimum(face, side))
        distant = escape - torch.exp(-attenuation_per_mm * face)
        reached = -torch.log1p(-place * (1 - escape)) / attenuation_per_mm
        return Flight(escape, distant, position + reached[..., None] * direction)


@dataclass(frozen=True)
class Flight:
    """Chance to leave the block [...]; to interact in the crystal beyond it [...]; where photons that stay
    interact, [..., 3]."""

    escape: Tensor
    distant: Tensor
    end: Tensor


def direction(cosine: Tensor, turn: Tensor) -> Tensor:
    """Unit vectors (row, column, depth) [..., 3] at a cosine to the depth and a part of a full turn."""
    sine = (1 - cosine**2).clamp_min(0).sqrt()
    azimuth = 2 * math.pi * turn
    return torch.stack(torch.broadcast_tensors(sine * azimuth.cos(), sine * azimuth.sin(), cosine), dim=-1)
