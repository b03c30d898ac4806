"""The photon lines of a decay chain, gathered into the few energies at which the geometry is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.errors import UserError
from data_gen.materials import interaction_probability
from data_gen.nuclides import DecayChain, bremsstrahlung, photon_lines

CONTINUUM_PIECES = 32
"""Pieces of the bremsstrahlung spectrum of each member."""


@dataclass(frozen=True)
class LineSpectrum:
    """All photons of a chain: energy [line] keV, photons per decay [line], emitting member [line].

    The bremsstrahlung of betas is among them in pieces of ``width_kev`` [line], evenly filled about their
    energy; the width of a line is 0.
    """

    energy_kev: Tensor
    photons_per_decay: Tensor
    member: Tensor
    width_kev: Tensor

    @classmethod
    def of(
        cls,
        chain: DecayChain,
        min_kev: float,
        max_kev: float,
        weakest: float = 1e-4,
        continuum: bool = True,
    ) -> LineSpectrum:
        """Lines above ``weakest`` photons per decay of their emitter between two energies.

        Args:
            chain: the decay chain.
            min_kev: lowest energy.
            max_kev: highest energy.
            weakest: photons per decay below which a line is left out.
            continuum: bremsstrahlung too.

        Raises:
            UserError: no member of the chain emits there.
        """
        rows = [
            (line.energy_kev, line.photons_per_decay, index, 0.0)
            for index, member in enumerate(chain.members)
            for line in photon_lines(member, min_kev, max_kev)
            if line.photons_per_decay >= weakest
        ]
        if not rows:
            raise UserError(
                f"{chain.members[0]} and its progeny emit no photon line at {min_kev}-{max_kev} keV"
            )
        if continuum:
            rows += _continuum(chain, min_kev, max_kev)
        energy, strength, member_of, width = zip(*sorted(rows), strict=True)
        return cls(
            torch.tensor(energy, dtype=torch.float64),
            torch.tensor(strength, dtype=torch.float64),
            torch.tensor(member_of, dtype=torch.int64),
            torch.tensor(width, dtype=torch.float64),
        )

    def up_to(self, most_kev: float) -> LineSpectrum:
        """The lines of at most this energy."""
        return self._chosen(self.energy_kev <= most_kev)

    def above(self, least_kev: float) -> LineSpectrum:
        """The lines above this energy."""
        return self._chosen(self.energy_kev > least_kev)

    def _chosen(self, keep: Tensor) -> LineSpectrum:
        parts = (self.energy_kev, self.photons_per_decay, self.member, self.width_kev)
        return LineSpectrum(*(part[keep] for part in parts))


def _continuum(chain: DecayChain, min_kev: float, max_kev: float) -> list[tuple[float, float, int, float]]:
    """Bremsstrahlung in pieces even in log energy: energy, photons per decay, member, width."""
    edges = torch.logspace(
        math.log10(min_kev), math.log10(max_kev), CONTINUUM_PIECES + 1, dtype=torch.float64
    )
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    rows = []
    for index, member in enumerate(chain.members):
        photons = bremsstrahlung(member, edges)
        pieces = zip(middle.tolist(), photons.tolist(), width.tolist(), strict=True)
        rows += [(energy, count, index, span) for energy, count, span in pieces if count > 0]
    return rows


def reference_energies(
    spectrum: LineSpectrum, most: int, detector: str, thickness_mm: float, edges_kev: tuple[float, ...] = ()
) -> Tensor:
    """At most ``most`` energies at which the geometry is computed, rising, [g] keV.

    The energy axis is cut at ``edges_kev`` (K edges of the collimator, where transmission jumps) and so that
    detected lines are near their group's mean log energy, which is the reference.
    """
    energy = spectrum.energy_kev
    if not len(energy) or most < 1:
        return energy.new_zeros(0)
    detected = spectrum.photons_per_decay * interaction_probability(detector, energy, thickness_mm)
    group = torch.bucketize(energy, _cuts(energy, detected, most, edges_kev), right=True)
    group = torch.unique(group, return_inverse=True)[1]
    weight = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add_(0, group, detected)
    return torch.zeros_like(weight).index_add_(0, group, detected * energy) / weight


def _cuts(energy: Tensor, detected: Tensor, most: int, edges_kev: tuple[float, ...]) -> Tensor:
    """Interior cuts that lower the detected-weighted variance of log energy, by splitting greedily."""
    inside = [e for e in edges_kev if float(energy.min()) < e < float(energy.max())]
    cuts = sorted(inside)
    log_energy = energy.log()
    while len(cuts) + 1 < most:
        best = _best_split(log_energy, detected, torch.tensor(cuts, dtype=torch.float64).log())
        if best is None:
            break
        cuts = sorted([*cuts, float(torch.as_tensor(best).exp())])
    return torch.tensor(cuts, dtype=torch.float64)


def _best_split(log_energy: Tensor, weight: Tensor, cuts: Tensor) -> float | None:
    """The cut, midway between two lines, that takes most from the weighted variance within groups."""
    group = torch.bucketize(log_energy, cuts, right=True)
    best, gain = None, 1e-6
    for index in range(len(cuts) + 1):
        inside = group == index
        x, w = log_energy[inside], weight[inside]
        for k in range(1, len(x)):
            if x[k] - x[k - 1] < 1e-3:
                continue
            drop = _scatter(x, w) - _scatter(x[:k], w[:k]) - _scatter(x[k:], w[k:])
            if drop > gain * float(weight.sum()):
                best, gain = float((x[k] + x[k - 1]) / 2), float(drop / weight.sum())
    return best


def _scatter(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of squared distances from the weighted mean."""
    mean = (weight * x).sum() / weight.sum()
    return (weight * (x - mean) ** 2).sum()
