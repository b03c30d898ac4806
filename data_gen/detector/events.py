"""Events in the crystal, before anything is read out: how likely, and what each pixel's signal is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Events:
    """Ways in which photons leave energy around their first interaction.

    Args:
        probability: per first interaction, [line, event].
        signal_kev: mean signals without noise of the 3x3 pixels around the first interaction, row by row, or
            of 5x5 where energy is left at other points too, [line, event, 9 or 25].
        stretch: factors by which signals may be multiplied, equally likely, [line, event, copy]: energies
            that differ a little at the same places in the crystal.
        distant: photons per first interaction that interact again beyond the 3x3, [line, photon].
        distant_kev: their energies, [line, photon].
    """

    probability: Tensor
    signal_kev: Tensor
    stretch: Tensor
    distant: Tensor
    distant_kev: Tensor

    @classmethod
    def at_points(cls, probability: Tensor, signal_kev: Tensor) -> Events:
        """Events of single energies, whose distant photons are counted elsewhere."""
        none = torch.zeros(len(probability), 0, dtype=torch.float64)
        return cls(probability, signal_kev, torch.ones_like(probability)[..., None], none, none)

    def weighted(self, share: Tensor) -> Events:
        """The same for a share [line] of first interactions."""
        part = share[:, None]
        return replace(self, probability=part * self.probability, distant=part * self.distant)
