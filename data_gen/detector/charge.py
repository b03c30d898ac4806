"""Charge transport in the crystal: from an energy deposit to the signals of the pixels around it.

Lengths are in mm, energies in keV. Drift in a uniform field, diffusion (Einstein relation) and trapping
(``trapping.py``); Gaussian charge clouds are shared between pixels. Source: docs/physics.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.detector.trapping import InducedCharge, induced_charge


@dataclass(frozen=True)
class Events:
    """Possible outcomes of photons around their first interaction.

    Args:
        probability: per first interaction, [line, event].
        signal_kev: mean noiseless signals of the 3x3 pixels around the first interaction, row by row, or
            of 5x5 where energy is deposited at other points too, [line, event, 9 or 25].
        stretch: equally likely factors on the signals, [line, event, copy], for energies that differ a
            little at the same places in the crystal.
        distant: photons per first interaction that interact again beyond the 3x3, [line, photon].
    """

    probability: Tensor
    signal_kev: Tensor
    stretch: Tensor
    distant: Tensor

    @classmethod
    def at_points(cls, probability: Tensor, signal_kev: Tensor) -> Events:
        """Events of single energies, whose distant photons are counted elsewhere."""
        none = torch.zeros(len(probability), 0, dtype=torch.float64)
        return cls(probability, signal_kev, torch.ones_like(probability)[..., None], none)

    def weighted(self, share: Tensor) -> Events:
        """These signals for a fraction [line] of first interactions."""
        part = share[:, None]
        return replace(self, probability=part * self.probability, distant=part * self.distant)


BOLTZMANN_V_PER_K = 8.617333262e-5
"""kT/q per kelvin."""


@dataclass(frozen=True)
class ChargeTransport:
    """Drift, diffusion and trapping between the cathode and a pixelated anode.

    Args:
        pitch_mm: edge of a pixel of the anode.
        thickness_mm: distance from cathode to anode.
        cloud_mm: standard deviation of the charge cloud where it is created.
        diffusion_mm2_per_mm: increase of the cloud's variance per mm of drift to the anode.
        induced: induced charge per created charge.
    """

    pitch_mm: Tensor
    thickness_mm: Tensor
    cloud_mm: Tensor
    diffusion_mm2_per_mm: Tensor
    induced: InducedCharge

    def cloud_at_anode_mm(self, depth_mm: Tensor) -> Tensor:
        """Standard deviation of the charge cloud at the anode; at least 0.01 um."""
        diffused = self.diffusion_mm2_per_mm * (self.thickness_mm - depth_mm).clamp_min(0)
        return torch.sqrt(self.cloud_mm**2 + diffused + 1e-10)

    def signals(self, position_mm: Tensor, side: int) -> Tensor:
        """Signal of each of ``side`` x ``side`` pixels per energy deposited at a point, [..., pixel] row by
        row.

        Positions are (row, column, depth) [..., 3] from the middle of the entrance face of the middle pixel;
        charge beyond the pixels is lost.
        """
        row_mm, column_mm, depth_mm = position_mm.unbind(-1)
        sigma = self.cloud_at_anode_mm(depth_mm)
        rows, columns = (self._shares(place, sigma, side) for place in (row_mm, column_mm))
        shared = (rows[..., :, None] * columns[..., None, :]).flatten(-2)
        return self.induced.at(depth_mm)[..., None] * shared

    def _shares(self, position_mm: Tensor, sigma_mm: Tensor, side: int) -> Tensor:
        """Fraction of the charge in ``side`` neighbouring strips, [..., side]."""
        edges = self.pitch_mm * (torch.arange(side + 1, dtype=torch.float64) - side / 2)
        scaled = (edges - position_mm[..., None]) / (math.sqrt(2) * sigma_mm[..., None])
        return 0.5 * torch.erf(scaled).diff(dim=-1)


def charge_transport(
    pitch_mm: Tensor,
    thickness_mm: Tensor,
    bias_v: Tensor,
    mu_tau_cm2_v: tuple[Tensor, Tensor],
    temperature_k: Tensor,
    cloud_um: Tensor,
) -> ChargeTransport:
    """Charge transport in a uniform field; ``mu_tau_cm2_v`` is that of electrons and of holes."""
    # Drift lengths are mu tau V / d: with mu tau in cm2/V and d in mm, 100 times that in mm.
    electrons, holes = (100 * mu_tau * bias_v / thickness_mm for mu_tau in mu_tau_cm2_v)
    return ChargeTransport(
        pitch_mm,
        thickness_mm,
        cloud_um / 1000,
        2 * BOLTZMANN_V_PER_K * temperature_k * thickness_mm / bias_v,
        induced_charge(thickness_mm, pitch_mm, electrons, holes),
    )
