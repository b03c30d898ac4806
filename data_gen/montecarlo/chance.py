"""How chance is taken: as nature does, or with weights that make rare things happen often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_HEAVY = 5.0
"""Photons worth more than this times the least weight are split."""
_MOST_COPIES = 8


class Chance(Protocol):
    """Decides what happens to photons of given weights; expectations are the same for every way to decide.

    Photons of weight 0 are gone.
    """

    @property
    def generator(self) -> torch.Generator:
        """Of the random numbers."""

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of what passes an optical depth, and of what interacts on the way."""

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """Weights after an event that is survived with some probability."""

    def thin(self, weight: Tensor, line: Tensor) -> Tensor:
        """Weights after photons not worth following are given up; ``line`` they were emitted in."""

    def copies(self, worth: Tensor, line: Tensor) -> Tensor:
        """Into how many equal parts photons are split, [n] int64, by the weight that is likely to count."""

    def analog_share(self, aimed: float) -> float:
        """Share of scattered photons whose direction follows nature, where ``aimed`` is the wish."""


@dataclass(frozen=True)
class Analog:
    """As nature does: every photon has the same weight and either does a thing or not."""

    generator: torch.Generator

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Chance`."""
        passes = uniform(len(weight), self.generator) < torch.exp(-optical_depth)
        return weight * passes, weight * ~passes

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """See :class:`Chance`."""
        return weight * (uniform(len(weight), self.generator) < probability)

    def thin(self, weight: Tensor, line: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Chance`."""
        return weight

    def copies(self, worth: Tensor, line: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Chance`."""
        return torch.ones_like(line)

    def analog_share(self, aimed: float) -> float:  # noqa: ARG002
        """See :class:`Chance`."""
        return 1.0


@dataclass(frozen=True)
class Forced:
    """Photons split between passing and interacting; weights below ``least`` play Russian roulette.

    Args:
        generator: of the random numbers.
        least: for each line [line], the weight below which photons are given up or raised to it.
    """

    generator: torch.Generator
    least: Tensor

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Chance`."""
        interacts = -torch.expm1(-optical_depth)
        return weight * (1 - interacts), weight * interacts

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """See :class:`Chance`."""
        return weight * probability

    def thin(self, weight: Tensor, line: Tensor) -> Tensor:
        """See :class:`Chance`."""
        least = self.least[line]
        kept = uniform(len(weight), self.generator) * least < weight
        return torch.maximum(weight, least) * kept

    def copies(self, worth: Tensor, line: Tensor) -> Tensor:
        """See :class:`Chance`."""
        return (worth / (_HEAVY * self.least[line])).clamp(1, _MOST_COPIES).to(torch.int64)

    def analog_share(self, aimed: float) -> float:
        """See :class:`Chance`."""
        return 1.0 - aimed


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Random numbers [count] in [0, 1)."""
    return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)


def first_interaction(optical_depth: Tensor, generator: torch.Generator) -> Tensor:
    """Optical depth of the interaction of photons that interact within ``optical_depth`` [n]."""
    reached = -torch.expm1(-optical_depth)
    depth = -torch.log1p(-uniform(len(optical_depth), generator) * reached)
    return torch.minimum(depth, optical_depth)
