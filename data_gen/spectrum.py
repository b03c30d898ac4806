"""The photon lines of a decay chain, gathered into the few energies at which the geometry is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.errors import UserError
from data_gen.materials import interaction_probability
from data_gen.nuclides import DecayChain, photon_lines


@dataclass(frozen=True)
class LineSpectrum:
    """All photon lines of a chain: energy [line] keV, photons per decay [line], emitting member [line]."""

    energy_kev: Tensor
    photons_per_decay: Tensor
    member: Tensor

    @classmethod
    def of(cls, chain: DecayChain, min_kev: float, max_kev: float, weakest: float = 1e-4) -> LineSpectrum:
        """Lines above ``weakest`` photons per decay of their emitter between two energies.

        Raises:
            UserError: no member of the chain emits there.
        """
        rows = [
            (line.energy_kev, line.photons_per_decay, index)
            for index, member in enumerate(chain.members)
            for line in photon_lines(member, min_kev, max_kev)
            if line.photons_per_decay >= weakest
        ]
        if not rows:
            raise UserError(
                f"{chain.members[0]} and its progeny emit no photon line at {min_kev}-{max_kev} keV"
            )
        energy, strength, member = zip(*sorted(rows), strict=True)
        return cls(
            torch.tensor(energy, dtype=torch.float64),
            torch.tensor(strength, dtype=torch.float64),
            torch.tensor(member, dtype=torch.int64),
        )


@dataclass(frozen=True)
class EnergyGroups:
    """Lines sharing one geometric factor: reference energies [g] keV, group of each line [line], and the
    ratio [line] of the detector's interaction probability at the line to that at its reference energy."""

    reference_kev: Tensor
    group: Tensor
    efficiency_ratio: Tensor


def energy_groups(
    spectrum: LineSpectrum, most: int, detector: str, thickness_mm: float, edges_kev: tuple[float, ...] = ()
) -> EnergyGroups:
    """Cut the energy axis into at most ``most`` groups at its widest gaps in log energy.

    The reference is the mean energy weighted by detected photons. ``edges_kev`` (K edges of the collimator)
    always cut, since transmission jumps there.
    """
    energy = spectrum.energy_kev
    efficiency = interaction_probability(detector, energy, thickness_mm)
    detected = spectrum.photons_per_decay * efficiency
    cuts = _cuts(energy, detected, most, edges_kev)
    group = torch.bucketize(energy, cuts, right=True)
    group = torch.unique(group, return_inverse=True)[1]
    count = int(group.max()) + 1
    weight = torch.zeros(count, dtype=torch.float64).index_add_(0, group, detected)
    reference = torch.zeros(count, dtype=torch.float64).index_add_(0, group, detected * energy) / weight
    ratio = efficiency / interaction_probability(detector, reference, thickness_mm)[group]
    return EnergyGroups(reference, group, ratio)


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
