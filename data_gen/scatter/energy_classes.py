"""Classes of the energies (keV) with which scattered photons arrive at the detector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARTS = 12
"""Parts of a class of arrival energies within which photons are taken as uniformly distributed."""


class EnergyClasses(nn.Module):
    """Classes k of the energies with which photons emitted at energies g arrive.

    Args:
        kev: lower and upper edge of each class, [g, k, 2] keV; equal for a line.
        filling: fraction of a class's photons in each of :data:`PARTS` equal parts of it in ascending energy,
            for a
            typical place of source and pixel, [g, k, part].
        own_lines: number of classes, the first ones, that are K lines of the scatterer, whatever the energy
            of
            emission.
    """

    def __init__(self, kev: Tensor, filling: Tensor, own_lines: int = 0) -> None:
        super().__init__()
        self.own_lines = own_lines
        self.kev = nn.Buffer(kev, persistent=False)
        self.filling = nn.Buffer(filling, persistent=False)

    kev: Tensor
    filling: Tensor

    @classmethod
    def evenly(cls, kev: Tensor, own_lines: int = 0) -> EnergyClasses:
        """Classes with uniform distribution."""
        return cls(kev, torch.full((*kev.shape[:2], PARTS), 1 / PARTS, dtype=torch.float64), own_lines)


def shares_of_parts(photons: Tensor) -> Tensor:
    """Distribution of photons over the parts of their class, [..., part]; uniform for a class without
    photons.
    """
    total = photons.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, photons / total.clamp_min(torch.finfo(photons.dtype).tiny), 1 / PARTS)


def edges_of_parts(kev: Tensor) -> Tensor:
    """Edges of the parts of adjoining classes by falling energy, [k, 2] keV to rising [k * part + 1] keV."""
    rising = kev.flip(0)
    share = torch.arange(PARTS, dtype=kev.dtype) / PARTS
    lower = rising[:, :1] + (rising[:, 1:] - rising[:, :1]) * share
    return torch.cat((lower.flatten(), rising[-1:, 1]))
