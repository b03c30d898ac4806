"""Two families of phantoms in one: mice with and without tumours, for instance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.nuclides import DecayChain
from data_gen.phantoms.phantom import PhantomFamily, ScannedObject, family_for


@dataclass(frozen=True)
class PhantomMixture:
    """Individuals of one family or another, by chance.

    Args:
        usual: one family.
        other: the other.
        other_share: chance that an individual is of the other one.

    Raises:
        UserError: the share is not from 0 to 1.
    """

    usual: PhantomFamily
    other: PhantomFamily
    other_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.other_share <= 1:
            raise UserError(f"phantom.other_share is {self.other_share}; it needs to be from 0 to 1")

    def for_chain(self, chain: DecayChain) -> PhantomMixture:
        """The mixture for this nuclide and its progeny.

        Raises:
            UserError: one of the families has no meaning for this nuclide.
        """
        return replace(self, usual=family_for(self.usual, chain), other=family_for(self.other, chain))

    def __call__(self, grid: VoxelGrid, generator: torch.Generator) -> ScannedObject:
        """One individual on this grid."""
        is_other = bool(torch.rand((), generator=generator) < self.other_share)
        return (self.other if is_other else self.usual)(grid, generator)
