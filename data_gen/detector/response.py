"""The interface of detector responses, and the width of the full-energy peak as read off a spectrum."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError


class DetectorResponse(Protocol):
    """The factor K of the forward model (docs/physics.md, section 7).

    A photon that interacts gives at most one event, recorded near the first interaction. All
    bins over all offsets and all losses together are 1 per first interaction, to 1e-6. Further hits of a
    photon are linked hits, not in the kernel and counted separately by responses that have any.
    """

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """(Row, column) steps from the pixel of first interaction to the recording pixels, [o]."""

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability that a first interaction is recorded at an offset and in a bin.

        Args:
            energy_kev: photon energies [line].
            edges_kev: rising bin edges [bin + 1].

        Returns:
            [o, line, bin]; the sum over o and bin is at most 1. Differentiable in the constants.
        """

    def losses(self, energy_kev: Tensor, edges_kev: Tensor) -> dict[str, Tensor]:
        """Probability that a first interaction is not recorded, by reason.

        Args:
            energy_kev: photon energies [line].
            edges_kev: rising bin edges [bin + 1].

        Returns:
            [line] each; "below_range" and "above_range" are recorded outside the edges.
        """


_BINS = 1000
"""Bins of the spectrum that the width of the peak is read off; chosen, no source."""


def peak_fwhm_kev(response: DetectorResponse, energy_kev: float) -> Tensor:
    """Full width at half maximum of the full-energy peak, summed over all offsets, in keV.

    Half heights are found by interpolation between the middles of bins of 0.02 % of the energy. The peak
    is looked for within 10 % of the photon's energy, and within 30 or 90 % where it is wider, in bins wider
    by as much.

    Raises:
        UserError: there is no such peak.
    """
    for reach in (0.1, 0.3, 0.9):
        ends = torch.linspace(1 - reach, 1 + reach, _BINS + 1, dtype=torch.float64)
        edges = energy_kev * ends
        counts = response.kernel(torch.tensor([energy_kev], dtype=torch.float64), edges)[:, 0].sum(0)
        top = int(counts.argmax())
        half = counts[top] / 2
        below = counts < half
        if bool(below[top:].any()) and bool(below[: top + 1].any()):
            break
    else:
        raise UserError(
            f"the response has no full-energy peak at {energy_kev:g} keV; it needs a narrower one"
        )
    right = top + int(below[top:].nonzero()[0])
    left = top - int(below[: top + 1].flip(0).nonzero()[0])
    above = (counts[right - 1] - half) / (counts[right - 1] - counts[right])
    under = (counts[left + 1] - half) / (counts[left + 1] - counts[left])
    return (edges[1] - edges[0]) * (right - left - 2 + above + under)
