"""Events in the crystal, before anything is read out: how likely, and what each pixel's signal is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Events:
    """Ways in which photons leave energy around their first interaction.

    Args:
        probability: per first interaction, [line, event].
        signal_kev: mean signal of each of the 3x3 pixels, without noise, [line, event, 9].
        distant: photons per first interaction that interact again beyond the 3x3, [line].
    """

    probability: Tensor
    signal_kev: Tensor
    distant: Tensor
