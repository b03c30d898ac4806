"""The full-energy peak of a response, as one reads it off a spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.detector.base import DetectorResponse
from data_gen.errors import UserError

_BINS = 1000


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
        raise UserError(f"the response has no full-energy peak at {energy_kev:g} keV; it needs a narrower one")
    right = top + int(below[top:].nonzero()[0])
    left = top - int(below[: top + 1].flip(0).nonzero()[0])
    above = (counts[right - 1] - half) / (counts[right - 1] - counts[right])
    under = (counts[left + 1] - half) / (counts[left + 1] - counts[left])
    return (edges[1] - edges[0]) * (right - left - 2 + above + under)
