"""What every detector response offers: the spectrum recorded for a photon that interacts in a pixel."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class DetectorResponse(Protocol):
    """The factor K_e of the forward model.

    A photon that interacts gives at most one event, which lies within reach of the first interaction. All
    bins over all offsets and all losses together are 1 per first interaction, to 1e-6. What a photon does
    beyond that is a linked hit, not in the kernel and counted apart by responses that have any.
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
