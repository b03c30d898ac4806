"""From energies left in the crystal to recorded events: charge, pixels, thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector import CdTeResponse
from data_gen.montecarlo.clusters import Signals, clusters
from data_gen.montecarlo.crystal import Deposits
from data_gen.montecarlo.induction import induction_table
from data_gen.montecarlo.panel import Panel

_VOLT_PER_KELVIN = 8.617333262e-5
_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
_NOTHING_KEV = 0.02
"""Signals below this are no signals; with noise they do not reach a threshold."""


@dataclass(frozen=True)
class Hits:
    """What is recorded of some photons: an event or none of each, and linked hits."""

    event: Tensor
    """Photon that each comes from, [k] int64."""
    pixel: Tensor
    """Of the panel's recorded pixels, from 0, [k] int64."""
    energy_kev: Tensor
    linked: Tensor
    """Whether it is another hit than the photon's event, [k] bool; see ``clusters``."""


class ChargeModel:
    """Charge in the crystal of a panel, by the constants of its response; detached from their gradients."""

    def __init__(self, response: CdTeResponse, panel: Panel) -> None:
        self.panel, self.response = panel, response
        self.binning = response.binning
        self.pitch_mm = panel.pitch_mm / self.binning
        self.thickness_mm = _number(response.thickness_mm)
        self.columns = panel.columns * self.binning
        self.rows = round(2 * panel.half_size[1] / self.pitch_mm)
        self.induced = induction_table(
            self.thickness_mm,
            self.pitch_mm,
            _number(response.bias_v),
            _number(response.mu_tau_electron_cm2_v),
            _number(response.mu_tau_hole_cm2_v),
        )

    def record(self, deposits: Deposits, first_place: Tensor, generator: torch.Generator) -> Hits:
        """Hits of some photons' deposits, given where each photon interacted first [n, 3] (all local)."""
        seen = self._above_threshold(*self._signals(deposits, generator), self._home(first_place), generator)
        found = clusters(seen, self.response.mode)
        hits = found.signals
        pixel = hits.row // self.binning * self.panel.columns + hits.column // self.binning
        return Hits(hits.event, pixel, self._calibrated(hits.energy_kev, generator), found.linked)

    def _home(self, place: Tensor) -> Tensor:
        """Column and row of the anode pixel over points [n, >=2], [n, 2] int64."""
        corner = place.new_tensor(self.panel.half_size)
        return ((place[:, :2] + corner) / self.pitch_mm).floor().to(torch.int64)

    def _signals(self, deposits: Deposits, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Signals of anode pixels without noise: key (event and pixel) [k] and keV [k]."""
        response = self.response
        place = deposits.place[:, :2] + deposits.place.new_tensor(self.panel.half_size)
        drift = (self.panel.detector_mm + self.thickness_mm - deposits.place[:, 2]).clamp(
            0, self.thickness_mm
        )
        diffusion = 2 * _VOLT_PER_KELVIN * _number(response.temperature_k) * self.thickness_mm * drift
        spread = (_number(response.cloud_um) / 1000) ** 2 + diffusion / _number(response.bias_v)
        pairs = _number(response.fano) * _number(response.pair_creation_kev) * deposits.energy_kev
        energy = deposits.energy_kev + pairs.clamp_min(0).sqrt() * _normal(deposits.energy_kev, generator)
        energy = energy * self.induced.at(self.thickness_mm - drift)
        home = (place / self.pitch_mm).floor()
        shares = [_shares(place[:, k], home[:, k], self.pitch_mm, spread.sqrt()) for k in range(2)]
        signal = energy[:, None, None] * shares[1][:, :, None] * shares[0][:, None, :]
        step = torch.arange(-1, 2, device=home.device)
        row = (home[:, 1, None].long() + step)[:, :, None].expand(signal.shape)
        column = (home[:, 0, None].long() + step)[:, None, :].expand(signal.shape)
        event = deposits.event[:, None, None].expand(signal.shape)
        kept = (
            (signal > _NOTHING_KEV) & (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)
        )
        key = (event * self.rows + row) * self.columns + column
        return key[kept], signal[kept]

    def _above_threshold(
        self, key: Tensor, signal: Tensor, home: Tensor, generator: torch.Generator
    ) -> Signals:
        """Signals of each pixel added up, with noise, where they pass the threshold."""
        response = self.response
        key, pixel = torch.unique(key, return_inverse=True)
        total = torch.zeros(len(key), dtype=signal.dtype, device=signal.device).index_add_(0, pixel, signal)
        total = total + _PER_FWHM * _number(response.electronic_noise_kev) * _normal(total, generator)
        level = _number(response.threshold_width_kev) * _normal(total, generator)
        seen = total > _number(response.threshold_kev) + level
        key, total = key[seen], total[seen]
        event, place = key // (self.rows * self.columns), key % (self.rows * self.columns)
        row, column = place // self.columns, place % self.columns
        by_home = ((column - home[event, 0]).abs() <= 1) & ((row - home[event, 1]).abs() <= 1)
        return Signals(event, row, column, total, by_home)

    def _calibrated(self, energy: Tensor, generator: torch.Generator) -> Tensor:
        """Energies after the gain and offset of some pixel, drawn anew for each: the mean over pixels."""
        gain = _number(self.response.gain_spread_fraction) * _normal(energy, generator)
        return energy * (1 + gain) + _number(self.response.offset_spread_kev) * _normal(energy, generator)


def _shares(place: Tensor, home: Tensor, pitch: float, sigma: Tensor) -> Tensor:
    """Parts of clouds within the pixel they are over and its two neighbours, [n, 3]."""
    edges = (home[:, None] + torch.arange(-1, 3, device=place.device)) * pitch - place[:, None]
    return 0.5 * torch.erf(edges / (math.sqrt(2) * sigma.clamp_min(1e-9))[:, None]).diff(dim=1)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _number(value: float | Tensor) -> float:
    """A constant as a plain number."""
    return float(torch.as_tensor(value).detach())
