"""The detector volume around a first interaction: distribution of depths, and probability to escape from it.

Lengths are in mm, attenuation in 1/mm; straight paths with exponential attenuation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LAYERS = 20
"""Layers of depth, finer towards the entrance face; chosen, no source."""
AZIMUTHS = 8
"""Azimuths over which the path to the surface is averaged; chosen, no source."""


@dataclass(frozen=True)
class AddedVolume:
    """The volume whose charge is added to one event: a box as deep as the detector, centred on the pixel hit.

    Photons arrive along +z, through the face at z = 0; oblique incidence is in the projector.

    Args:
        thickness_mm: depth of the detector.
        pixel_mm: edge of the pixel where photons first interact.
        width_mm: edge of the box.
    """

    thickness_mm: Tensor
    pixel_mm: Tensor
    width_mm: Tensor

    def depth_shares(self, attenuation_per_mm: Tensor) -> Tensor:
        """Fraction of first interactions in each layer, [..., layer], for attenuation [...]; they
        sum to 1.
        """
        through = torch.exp(-attenuation_per_mm[..., None] * self._layer_edges_mm())
        return (through[..., :-1] - through[..., 1:]) / (through[..., :1] - through[..., -1:])

    def escape(self, attenuation_per_mm: Tensor, cosine: Tensor) -> Tensor:
        """Probability to leave the box without interaction from each layer, averaged over positions and
        azimuths.

        Args:
            attenuation_per_mm: [...] of the photon.
            cosine: [...] of its direction to +z.

        Returns:
            [..., layer].
        """
        chords = self._chords_mm(cosine)
        return torch.exp(-attenuation_per_mm[..., None, None] * chords).mean(dim=-1)

    def isotropic_escape(self, attenuation_per_mm: Tensor, directions: int = 16) -> Tensor:
        """The same averaged over all directions (``directions`` cosines forward and as many backward)."""
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(directions))
        # Each hemisphere by itself: the way out has a kink between them.
        cosine, share = torch.cat(((nodes - 1) / 2, (nodes + 1) / 2)), torch.cat((weights, weights)) / 4
        return torch.einsum("...dl,d->...l", self.escape(attenuation_per_mm[..., None], cosine), share)

    def _layer_edges_mm(self) -> Tensor:
        """Depths that bound the layers, finer towards the entrance, where soft photons stop."""
        return self.thickness_mm * torch.linspace(0, 1, LAYERS + 1, dtype=torch.float64) ** 2

    def _chords_mm(self, cosine: Tensor) -> Tensor:
        """Path to the surface of the box, [..., layer, azimuth], in directions of this cosine to +z."""
        edges = self._layer_edges_mm()
        depth = ((edges[1:] + edges[:-1]) / 2)[:, None]
        cosine = cosine[..., None, None]
        sine = (1 - cosine**2).clamp_min(1e-12).sqrt()
        azimuth = (torch.arange(AZIMUTHS, dtype=torch.float64) + 0.5) * (2 * math.pi / AZIMUTHS)
        # Two-point Gauss in x and y; the four points are one by symmetry, as azimuths cover the circle.
        place = self.pixel_mm / math.sqrt(12)
        to_face = torch.where(cosine > 0, self.thickness_mm - depth, depth) / cosine.abs().clamp_min(1e-9)
        to_sides = [
            (self.width_mm / 2 - place * along.sign()) / (sine * along.abs())
            for along in (azimuth.cos(), azimuth.sin())
        ]
        return torch.minimum(to_face, torch.minimum(*to_sides))
