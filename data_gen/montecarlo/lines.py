"""What a decay emits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError


class EmissionLines(Protocol):
    """Photon lines; ``data_gen.nuclides.spectrum.LineSpectrum`` is one kind."""

    @property
    def energy_kev(self) -> Tensor:
        """Energies [line] in keV."""

    @property
    def photons_per_decay(self) -> Tensor:
        """Photons per decay [line]."""


@dataclass(frozen=True)
class Lines:
    """Photon lines given by hand: energies in keV and photons per decay, [line] each."""

    energy_kev: Tensor
    photons_per_decay: Tensor


def drawn_lines(lines: EmissionLines, device: torch.device) -> tuple[Tensor, Tensor]:
    """Energies [line] in keV and the distribution function of lines [line].

    Raises:
        UserError: there is no line, or yields are negative or all zero.
    """
    energy = lines.energy_kev.to(device, torch.float64)
    strength = lines.photons_per_decay.to(device, torch.float64)
    sound = len(strength) == len(energy) > 0 and float(strength.min()) >= 0
    if not sound or float(strength.sum()) <= 0:
        raise UserError(
            f"lines.photons_per_decay must be {max(1, len(energy))} numbers of 0 or more, not all 0"
        )
    return energy, strength.cumsum(0) / strength.sum()
