"""Analog Monte Carlo, and variance reduction by weights: forced passage, splitting and Russian roulette.

All functions act on many photons at once, [n]; weights are photons per decay that each simulated photon
stands for. Expectations are the same for either way of sampling. Source: any textbook of Monte Carlo
transport.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_HEAVY = 5.0
"""Photons whose expected contribution exceeds this multiple of the roulette weight are split."""
_MOST_SPLITS = 8


class Sampling(Protocol):
    """How the fate of weighted photons is sampled; every implementation has the same expectations.

    A photon of weight 0 no longer exists.
    """

    @property
    def generator(self) -> torch.Generator:
        """Source of the random numbers."""

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [n] that pass an optical depth [n] unscattered, and weights [n] that interact within it."""

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """Weights [n] after an event that is survived with a probability [n]."""

    def roulette(self, weight: Tensor, line: Tensor) -> Tensor:
        """Weights [n] after Russian roulette; ``line`` [n] is the photon line that each was emitted in."""

    def splits(self, worth: Tensor, line: Tensor) -> Tensor:
        """Number of equal parts that each photon is split into, [n] int64, from its expected contribution
        ``worth`` [n].
        """

    def analog_fraction(self, biased: float) -> float:
        """Fraction of directions that are sampled from the physical law, where ``biased`` is the fraction
        wanted biased.
        """


@dataclass(frozen=True)
class Analog:
    """Analog sampling: every photon has the same weight, and either interacts or does not."""

    generator: torch.Generator

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Sampling`."""
        passes = uniform(len(weight), self.generator) < torch.exp(-optical_depth)
        return weight * passes, weight * ~passes

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """See :class:`Sampling`."""
        return weight * (uniform(len(weight), self.generator) < probability)

    def roulette(self, weight: Tensor, line: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Sampling`."""
        return weight

    def splits(self, worth: Tensor, line: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Sampling`."""
        return torch.ones_like(line)

    def analog_fraction(self, biased: float) -> float:  # noqa: ARG002
        """See :class:`Sampling`."""
        return 1.0


@dataclass(frozen=True)
class Forced:
    """Forced sampling: a photon's weight is divided between passing and interacting, and low weights play
    roulette.

    Args:
        generator: source of the random numbers.
        least: roulette weight of each photon line, [line]; lower weights are ended or raised to it.
    """

    generator: torch.Generator
    least: Tensor

    def divide(self, weight: Tensor, optical_depth: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Sampling`."""
        interacts = -torch.expm1(-optical_depth)
        return weight * (1 - interacts), weight * interacts

    def survive(self, weight: Tensor, probability: Tensor) -> Tensor:
        """See :class:`Sampling`."""
        return weight * probability

    def roulette(self, weight: Tensor, line: Tensor) -> Tensor:
        """See :class:`Sampling`."""
        least = self.least[line]
        kept = uniform(len(weight), self.generator) * least < weight
        return torch.maximum(weight, least) * kept

    def splits(self, worth: Tensor, line: Tensor) -> Tensor:
        """See :class:`Sampling`."""
        return (worth / (_HEAVY * self.least[line])).clamp(1, _MOST_SPLITS).to(torch.int64)

    def analog_fraction(self, biased: float) -> float:
        """See :class:`Sampling`."""
        return 1.0 - biased


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Random numbers [count] in [0, 1)."""
    return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)


def first_interaction(optical_depth: Tensor, generator: torch.Generator) -> Tensor:
    """Optical depth of the first interaction, given that it happens within ``optical_depth`` [n] (truncated
    exponential), [n].
    """
    reached = -torch.expm1(-optical_depth)
    depth = -torch.log1p(-uniform(len(optical_depth), generator) * reached)
    return torch.minimum(depth, optical_depth)
