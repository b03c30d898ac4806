"""Charge transport in the crystal: from an energy deposit to the signals of the pixels around it.

Lengths are in mm, energies in keV. Drift, diffusion (Einstein relation), repulsion and trapping
(``trapping.py``); Gaussian charge clouds are shared between pixels, and lose charge there. Source:
docs/physics.md, section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from data_gen.detector.electrons import ElectronTable, electron_table
from data_gen.detector.trapping import InducedCharge, drift_way_mm, induced_charge

if TYPE_CHECKING:
    from data_gen.detector.constants import CdTeConstants


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
_COULOMB_V_MM = 1.43996455e-6
"""Potential of an elementary charge times the distance, in vacuum (CODATA)."""
_PERMITTIVITY = 10.9
"""Static, of CdTe, relative to vacuum; published values lie between 10.2 and 11."""
_REPULSION_STEPS = 2
"""Runge-Kutta steps of a cloud's growth on its way to the anode; chosen, no source."""


@dataclass(frozen=True)
class ChargeTransport:
    """Drift, diffusion, repulsion and trapping between the cathode and a pixelated anode.

    Args:
        pitch_mm: edge of a pixel of the anode.
        thickness_mm: distance from cathode to anode.
        cathode_field: field at the cathode over its mean.
        cloud_mm: standard deviation of the charge cloud where it is created, electron range apart.
        electron_range: factor on the spread of the energy by fast electrons.
        electrons: that spread by kinetic energy.
        diffusion_mm2_per_mm: increase of the cloud's variance per mm of drift to the anode.
        repulsion_mm2_per_kev: increase of the cloud's variance by repulsion, per mm of drift, times its
            standard deviation in mm, for a cloud of 1 keV.
        gap_mm: width of the gap between the pixels' electrodes.
        gap_loss: share of the charge that is lost where it arrives in a gap.
        induced: induced charge per created charge.
    """

    pitch_mm: Tensor
    thickness_mm: Tensor
    cathode_field: Tensor
    cloud_mm: Tensor
    electron_range: Tensor
    electrons: ElectronTable
    diffusion_mm2_per_mm: Tensor
    repulsion_mm2_per_kev: Tensor
    gap_mm: Tensor
    gap_loss: Tensor
    induced: InducedCharge

    def cloud_at_anode_mm(self, depth_mm: Tensor, energy_kev: Tensor, electron_kev: Tensor) -> Tensor:
        """Standard deviation of a charge cloud at the anode; at least 0.01 um.

        Args:
            depth_mm: where it is created.
            energy_kev: energy that created it.
            electron_kev: kinetic energy of the fastest electron that did.
        """
        drift = self._way_mm(self.thickness_mm) - self._way_mm(depth_mm)
        spread = self.electron_range * self.electrons.spread_at_mm(electron_kev)
        start = self.cloud_mm**2 + spread**2
        diffused = self.diffusion_mm2_per_mm * drift.clamp_min(0)
        repelled = self._repelled_mm2(start + 1e-10, drift.clamp_min(0), energy_kev)
        return torch.sqrt(start + diffused + 1e-10 + repelled)

    def _way_mm(self, depth_mm: Tensor) -> Tensor:
        return drift_way_mm(depth_mm, self.thickness_mm, self.cathode_field)

    def _repelled_mm2(self, start_mm2: Tensor, drift_mm: Tensor, energy_kev: Tensor) -> Tensor:
        """What repulsion adds to the variance of clouds that start with ``start_mm2``.

        d(sigma^2)/dz = diffusion + repulsion / sigma (Benoit and Hamel, Nucl. Instrum. Methods A 606 (2009)
        508), solved for sigma^3, in which repulsion alone is linear; less the same without repulsion.
        """
        if _is_none(self.repulsion_mm2_per_kev):
            return torch.zeros_like(start_mm2)
        step = drift_mm / _REPULSION_STEPS

        def grown(push: Tensor) -> Tensor:
            def rate(volume: Tensor) -> Tensor:
                return 1.5 * (self.diffusion_mm2_per_mm * volume ** (1 / 3) + push)

            volume = start_mm2**1.5
            for _ in range(_REPULSION_STEPS):
                first = rate(volume)
                second = rate(volume + step * first / 2)
                third = rate(volume + step * second / 2)
                fourth = rate(volume + step * third)
                volume = volume + step * (first + 2 * second + 2 * third + fourth) / 6
            return volume ** (2 / 3)

        push = self.repulsion_mm2_per_kev * energy_kev.clamp_min(0)
        return grown(push) - grown(torch.zeros_like(push))

    def signals(self, position_mm: Tensor, side: int, energy_kev: Tensor, electron_kev: Tensor) -> Tensor:
        """Signal of each of ``side`` x ``side`` pixels per energy deposited at a point, [..., pixel] row by
        row.

        Positions are (row, column, depth) [..., 3] from the middle of the entrance face of the middle pixel;
        charge beyond the pixels is lost. The width of the cloud is that of ``energy_kev`` and
        ``electron_kev`` [...], see :meth:`cloud_at_anode_mm`.
        """
        row_mm, column_mm, depth_mm = position_mm.unbind(-1)
        sigma = self.cloud_at_anode_mm(depth_mm, energy_kev, electron_kev)
        rows, columns = (self._shares(place, sigma, side) for place in (row_mm, column_mm))
        shared = (rows[..., :, None] * columns[..., None, :]).flatten(-2)
        return self.induced.at(depth_mm)[..., None] * shared

    def _shares(self, position_mm: Tensor, sigma_mm: Tensor, side: int) -> Tensor:
        """Fraction of the charge in ``side`` neighbouring strips, less what is lost between them, [...,
        side].
        """
        edges = self.pitch_mm * (torch.arange(side + 1, dtype=torch.float64) - side / 2)
        scale = math.sqrt(2) * sigma_mm[..., None]
        scaled = (edges - position_mm[..., None]) / scale
        at = torch.erf(scaled)
        whole = 0.5 * at.diff(dim=-1)
        if _is_none(self.gap_loss):
            return whole
        half_gap = self.gap_mm / 2 / scale
        below, above = torch.erf(scaled - half_gap), torch.erf(scaled + half_gap)
        return whole - self.gap_loss * 0.5 * ((above - at)[..., :-1] + (at - below)[..., 1:])


def _is_none(value: Tensor) -> bool:
    """Whether what a number is the measure of is left out, gradient and all."""
    return not value.requires_grad and float(value) == 0


def charge_transport(constants: CdTeConstants) -> ChargeTransport:
    """Charge transport in a crystal with these constants, to the pixels of its anode."""
    of = constants.constant
    pitch, thickness, bias = of("pixel_pitch_mm") / constants.binning, of("thickness_mm"), of("bias_v")
    # Drift lengths are mu tau V / d: with mu tau in cm2/V and d in mm, 100 times that in mm.
    electrons, holes = (
        100 * of(f"mu_tau_{carrier}_cm2_v") * bias / thickness for carrier in ("electron", "hole")
    )
    field = of("cathode_field_fraction")
    # A sphere of N charges q grows as d(R^3) = 3 N q / (4 pi eps) d(mu t), and sigma is R / sqrt(5).
    sphere = _COULOMB_V_MM / _PERMITTIVITY / of("pair_creation_kev") * 2 / (5 * math.sqrt(5))
    return ChargeTransport(
        pitch,
        thickness,
        field,
        of("cloud_um") / 1000,
        of("electron_range_fraction"),
        electron_table(constants.material),
        2 * BOLTZMANN_V_PER_K * of("temperature_k") * thickness / bias,
        of("repulsion_fraction") * sphere * thickness / bias,
        of("gap_um") / 1000,
        of("gap_loss_fraction"),
        induced_charge(thickness, pitch, electrons, holes, field),
    )
