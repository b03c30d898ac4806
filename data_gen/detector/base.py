"""What every detector response offers: the spectrum recorded for a photon that interacts in a pixel."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class DetectorResponse(Protocol):
    """The factor K_e of the forward model.

    ``offsets`` are the (row, column) steps from the pixel of first interaction to the pixels that may
    record it; a response without charge sharing between pixels has the one offset (0, 0).
    """

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Row and column steps to the recording pixels, [o]."""

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        """Probability that a first interaction is recorded at an offset and in a bin.

        Args:
            energy_kev: photon energies [line].
            edges_kev: rising bin edges [bin + 1].

        Returns:
            [o, line, bin]; the sum over o and bin is at most 1. Differentiable in the constants.
        """
