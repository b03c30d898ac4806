"""From energy deposits in the crystal to recorded events: charge collection, pixels, thresholds, sharing
modes.

Energies are in keV, lengths in mm. The signal that charge induces on a pixel follows from its weighting
potential and trapping lengths (Shockley and Ramo; docs/physics.md, section 7); charge clouds are Gaussian,
widened by diffusion, repulsion and the range of electrons. All constants are those of ``CdTeResponse``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.detector import CdTeResponse
from data_gen.detector.electrons import electron_table
from data_gen.montecarlo.crystal import Deposits
from data_gen.montecarlo.panel import Panel

_IMAGES = 200
_FINE = 4000
_DEPTHS = 401
_CLOUD_STEPS = 24


@dataclass(frozen=True)
class InductionTable:
    """Induced over created charge at evenly spaced depths from the cathode (0) to the anode.

    Args:
        thickness_mm: of the crystal.
        value: [depth].
    """

    thickness_mm: float
    value: Tensor

    def at(self, depth_mm: Tensor) -> Tensor:
        """Induced over created charge at depths [n] in mm."""
        table = self.value.to(depth_mm.device)
        index = (depth_mm / self.thickness_mm * (_DEPTHS - 1)).clamp(0, _DEPTHS - 1 - 1e-9)
        low = index.to(torch.int64)
        return table[low] + (index - low) * (table[low + 1] - table[low])


def field_integral_mm(depth_mm: np.ndarray, thickness_mm: float, cathode_field: float) -> np.ndarray:
    """Integral of mean over local field from the cathode to ascending depths from 0 on, [depth]: mm of drift.

    The field rises evenly from ``cathode_field`` times its mean at the cathode. Trapezoids.
    """
    slowness = 1 / (cathode_field + 2 * (1 - cathode_field) * depth_mm / thickness_mm)
    steps = np.diff(depth_mm) * (slowness[1:] + slowness[:-1]) / 2
    return np.concatenate(([0.0], steps.cumsum()))


@cache
def induction_table(
    thickness_mm: float,
    pitch_mm: float,
    bias_v: float,
    mu_tau_electron_cm2_v: float,
    mu_tau_hole_cm2_v: float,
    cathode_field: float = 1.0,
) -> InductionTable:
    """The table of a crystal where trapped charge stays in place.

    eta(x) = integral from x to d of w' exp(-(u(s) - u(x)) / l_e) ds
           + integral from 0 to x of w' exp(-(u(x) - u(s)) / l_h) ds,

    with the trapping lengths l = mu tau V / d in the mean field and the drift u of :func:`field_integral_mm`:
    Barrett, Eskin and Barber, Phys. Rev. Lett. 75 (1995) 156.
    """
    depth = thickness_mm * (1 - np.linspace(1, 0, _FINE + 1) ** 2)  # fine towards the anode
    potential = weighting_potential(depth, thickness_mm, pitch_mm)
    drift = field_integral_mm(depth, thickness_mm, cathode_field)
    middle, rise = np.interp((depth[1:] + depth[:-1]) / 2, depth, drift), np.diff(potential)
    electron, hole = (100 * m * bias_v / thickness_mm for m in (mu_tau_electron_cm2_v, mu_tau_hole_cm2_v))
    x = np.interp(np.linspace(0, thickness_mm, _DEPTHS), depth, drift)[:, None]
    to_anode, to_cathode = np.clip(middle - x, 0, None), np.clip(x - middle, 0, None)
    value = rise * np.exp(-to_anode / electron - to_cathode / hole)
    return InductionTable(thickness_mm, torch.from_numpy(value.sum(axis=1)))


def weighting_potential(depth_mm: np.ndarray, thickness_mm: float, pitch_mm: float) -> np.ndarray:
    """Potential on the axis of a square pixel at 1 V with all other electrodes at 0 V, [depth].

    In a half space a square alone has the potential (solid angle) / 2 pi; its mirror images in the two
    electrode planes, 2 d apart, put both planes at their voltages (method of images).
    """
    above = thickness_mm - np.asarray(depth_mm, dtype=float)
    total = np.zeros_like(above)
    for k in range(-_IMAGES, _IMAGES + 1):
        height = above + 2 * k * thickness_mm
        away = np.maximum(np.abs(height), 1e-12)
        angle = 4 * np.arctan(pitch_mm**2 / (2 * away * np.sqrt(4 * away**2 + 2 * pitch_mm**2)))
        total += np.where(height < 0, -1.0, 1.0) * angle / (2 * math.pi)
    return total


@dataclass(frozen=True)
class Signals:
    """Signals of anode pixels above threshold, [k] each."""

    event: Tensor
    row: Tensor
    column: Tensor
    energy_kev: Tensor
    by_home: Tensor
    """Whether the pixel is one of the 3x3 around the first interaction."""

    def take(self, index: Tensor) -> Signals:
        """Those selected by a mask or an index."""
        return Signals(*(part[index] for part in vars(self).values()))


@dataclass(frozen=True)
class Clusters:
    """What is recorded at pixels, [k] each; ``linked`` marks hits other than the photon's event."""

    signals: Signals
    linked: Tensor


def clusters(seen: Signals, mode: str) -> Clusters:
    """Hits in a charge-sharing mode: "addition", "discrimination" or "raw".

    The event of a photon is at the largest signal in the 3x3 around its first interaction, and takes the
    3x3 around itself. Remaining signals give further hits, largest first, which are linked to the event.
    """
    if mode == "raw":
        seen, first = _ranked(seen)
        return Clusters(seen, ~(first & seen.by_home))
    parts: list[Clusters] = []
    while len(seen.event):
        seen, first = _ranked(seen)
        leader = first.nonzero()[:, 0][first.cumsum(0) - 1]
        near = ((seen.row - seen.row[leader]).abs() <= 1) & ((seen.column - seen.column[leader]).abs() <= 1)
        panel_groups = _added(seen, first, near) if mode == "addition" else _alone(seen, first, near)
        linked = ~panel_groups.by_home if not parts else torch.ones_like(panel_groups.by_home)
        parts.append(Clusters(panel_groups, linked))
        seen = seen.take(~near)
    return _concatenated(parts, seen)


def _ranked(seen: Signals) -> tuple[Signals, Tensor]:
    """Signals sorted by photon, then near its first interaction first, then by size; and which are first of a
    photon.
    """
    order = torch.argsort(seen.energy_kev, descending=True)
    order = order[torch.argsort((~seen.by_home)[order].long(), stable=True)]
    seen = seen.take(order[torch.argsort(seen.event[order], stable=True)])
    first = torch.ones_like(seen.by_home)
    first[1:] = seen.event[1:] != seen.event[:-1]
    return seen, first


def _added(seen: Signals, first: Tensor, near: Tensor) -> Signals:
    """First signals, with all signals near them added."""
    panel_groups = seen.take(first)
    total = torch.zeros_like(panel_groups.energy_kev)
    total.index_add_(0, first.cumsum(0) - 1, seen.energy_kev * near)
    return Signals(panel_groups.event, panel_groups.row, panel_groups.column, total, panel_groups.by_home)


def _alone(seen: Signals, first: Tensor, near: Tensor) -> Signals:
    """First signals that have no others near them."""
    count = torch.zeros(int(first.sum()), dtype=torch.int64, device=first.device)
    count.index_add_(0, first.cumsum(0) - 1, near.long())
    return seen.take(first).take(count == 1)


def _concatenated(parts: Sequence[Clusters], none: Signals) -> Clusters:
    """All clusters of several rounds; ``none`` is returned where there are no rounds."""
    if not parts:
        return Clusters(none, none.by_home)
    columns = zip(*(vars(part.signals).values() for part in parts), strict=True)
    return Clusters(Signals(*(torch.cat(c) for c in columns)), torch.cat([part.linked for part in parts]))


_VOLT_PER_KELVIN = 8.617333262e-5
_COULOMB_V_MM = 1.43996455e-6
_PERMITTIVITY = 10.9
_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
_NOTHING_KEV = 0.02
"""Signals below this are dropped; with noise they do not reach a threshold."""


@dataclass(frozen=True)
class Hits:
    """What is recorded of some photons: at most one event of each, and linked hits."""

    event: Tensor
    """Index of the photon that each comes from, [k] int64."""
    pixel: Tensor
    """Index among the panel's recorded pixels, from 0, [k] int64."""
    energy_kev: Tensor
    linked: Tensor
    """Whether it is a hit other than the photon's event, [k] bool; see :func:`clusters`."""


class ChargeModel:
    """Charge collection in the crystal of one panel, by the constants of its response (without their
    gradients).
    """

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
            _number(response.cathode_field_fraction),
        )

    def record(self, deposits: Deposits, first_place: Tensor, generator: torch.Generator) -> Hits:
        """Hits from the deposits of some photons, given where each photon first interacted, [n, 3] (panel
        coordinates).
        """
        seen = self._above_threshold(*self._signals(deposits, generator), self._home(first_place), generator)
        found = clusters(seen, self.response.mode)
        hits = found.signals
        pixel = hits.row // self.binning * self.panel.columns + hits.column // self.binning
        return Hits(hits.event, pixel, hits.energy_kev, found.linked)

    def _home(self, position: Tensor) -> Tensor:
        """Column and row of the anode pixel at points [n, >=2], [n, 2] int64."""
        corner = position.new_tensor(self.panel.half_size)
        return ((position[:, :2] + corner) / self.pitch_mm).floor().to(torch.int64)

    def _signals(self, deposits: Deposits, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noiseless signals of anode pixels: key (photon and pixel) [k] and keV [k]."""
        response = self.response
        position = deposits.position[:, :2] + deposits.position.new_tensor(self.panel.half_size)
        drift = (self.panel.detector_mm + self.thickness_mm - deposits.position[:, 2]).clamp(
            0, self.thickness_mm
        )
        sigma = self._cloud_mm(self.thickness_mm - drift, deposits.energy_kev)
        pairs = _number(response.fano) * _number(response.pair_creation_kev) * deposits.energy_kev
        energy = deposits.energy_kev + pairs.clamp_min(0).sqrt() * _normal(deposits.energy_kev, generator)
        energy = energy * self.induced.at(self.thickness_mm - drift)
        home = (position / self.pitch_mm).floor()
        gap, loss = _number(response.gap_um) / 1000, _number(response.gap_loss_fraction)
        shares = [
            _shares(position[:, k], home[:, k], self.pitch_mm, sigma)
            - loss * _between(position[:, k], home[:, k], self.pitch_mm, sigma, gap)
            for k in range(2)
        ]
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

    def _cloud_mm(self, depth: Tensor, energy_kev: Tensor) -> Tensor:
        """Standard deviation at the anode of clouds created at depths by energies, [n] each.

        The variance grows step by step, by diffusion and by repulsion as that of an even sphere does (Benoit
        and Hamel, Nucl. Instrum. Methods A 606 (2009) 508). All energy is spread as that of one electron.
        """
        response = self.response
        of_range = electron_table(response.material).spread_at_mm(energy_kev.cpu().double()).to(energy_kev)
        of_range = _number(response.electron_range_fraction) * of_range
        spread = (_number(response.cloud_um) / 1000) ** 2 + of_range**2
        field, per_volt = (
            _number(response.cathode_field_fraction),
            self.thickness_mm / _number(response.bias_v),
        )
        thermal = 2 * _VOLT_PER_KELVIN * _number(response.temperature_k)
        pairs = energy_kev.clamp_min(0) / _number(response.pair_creation_kev)
        push = _number(response.repulsion_fraction) * _COULOMB_V_MM * pairs / _PERMITTIVITY
        steps = _CLOUD_STEPS if field != 1 or _number(response.repulsion_fraction) > 0 else 1
        step = (self.thickness_mm - depth) / steps
        for k in range(steps):
            place = depth + (k + 0.5) * step
            slow = 1 / (field + 2 * (1 - field) * place / self.thickness_mm)
            # The radius of the sphere is sqrt(5) sigma; repulsion alone is even in sigma^3.
            charged = spread**1.5 + 3 * push / 5**1.5 * step * slow * per_volt
            spread = charged ** (2 / 3) + thermal * step * slow * per_volt
        return spread.sqrt()

    def _above_threshold(
        self, key: Tensor, signal: Tensor, home: Tensor, generator: torch.Generator
    ) -> Signals:
        """Summed signals of each pixel with noise, where they pass the threshold, as the pixel records
        them.
        """
        response = self.response
        key, pixel = torch.unique(key, return_inverse=True)
        total = torch.zeros(len(key), dtype=signal.dtype, device=signal.device).index_add_(0, pixel, signal)
        total = total + _PER_FWHM * _number(response.electronic_noise_kev) * _normal(total, generator)
        level = _number(response.threshold_width_kev) * _normal(total, generator)
        seen = total > _number(response.threshold_kev) + level
        key, total = key[seen], total[seen]
        event, cell = key // (self.rows * self.columns), key % (self.rows * self.columns)
        row, column = cell // self.columns, cell % self.columns
        by_home = ((column - home[event, 0]).abs() <= 1) & ((row - home[event, 1]).abs() <= 1)
        return Signals(event, row, column, self._calibrated(total, generator), by_home)

    def _calibrated(self, energy: Tensor, generator: torch.Generator) -> Tensor:
        """Energies after a random gain and offset of each signal's pixel, as on average over pixels."""
        gain = _number(self.response.gain_spread_fraction) * _normal(energy, generator)
        return energy * (1 + gain) + _number(self.response.offset_spread_kev) * _normal(energy, generator)


def _shares(position: Tensor, home: Tensor, pitch: float, sigma: Tensor) -> Tensor:
    """Fractions of Gaussian clouds within the pixel they are in and its two neighbours, [n, 3]."""
    edges = (home[:, None] + torch.arange(-1, 3, device=position.device)) * pitch - position[:, None]
    return 0.5 * torch.erf(edges / (math.sqrt(2) * sigma.clamp_min(1e-9))[:, None]).diff(dim=1)


def _between(position: Tensor, home: Tensor, pitch: float, sigma: Tensor, gap: float) -> Tensor:
    """Fractions within half a gap of either border of these pixels, [n, 3]."""
    edges = (home[:, None] + torch.arange(-1, 3, device=position.device)) * pitch - position[:, None]
    scale = (math.sqrt(2) * sigma.clamp_min(1e-9))[:, None]
    low, middle, high = (torch.erf((edges + side * gap / 2) / scale) for side in (-1, 0, 1))
    return 0.5 * ((high - middle)[:, :-1] + (middle - low)[:, 1:])


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _number(value: float | Tensor) -> float:
    """A constant as a plain number."""
    return float(torch.as_tensor(value).detach())
