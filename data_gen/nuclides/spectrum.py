"""The emission spectrum of a whole decay chain: lines, and pieces of bremsstrahlung and of weak lines.

From a decay chain and an energy range in keV: energies, photons per decay and emitting members. Source: the
lines of ``lines.py`` and the continuum of ``bremsstrahlung.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.nuclides import DecayChain, bremsstrahlung, photon_lines

CONTINUUM_PIECES = 32
"""Number of pieces, equally wide in log energy, that hold each member's bremsstrahlung and weak lines."""


@dataclass(frozen=True)
class LineSpectrum:
    """All photons of a decay chain.

    Bremsstrahlung and weak lines are included as pieces of finite width, in which the spectrum is taken as
    uniform.

    Args:
        energy_kev: energy of each line, or mean energy of each piece, [line].
        photons_per_decay: photons per decay of the emitting member, [line].
        member: index of the emitting member, [line] int64.
        width_kev: width of each piece, 0 for a line, [line].
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
        """Photons of a chain between two energies.

        Args:
            chain: the decay chain.
            min_kev: lowest energy.
            max_kev: highest energy.
            weakest: photons per decay of the emitter below which a line is added to the pieces.
            continuum: whether pieces are included.

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
            rows += _pieces(chain, min_kev, max_kev, weakest)
        energy, strength, member_of, width = zip(*sorted(rows), strict=True)
        return cls(
            torch.tensor(energy, dtype=torch.float64),
            torch.tensor(strength, dtype=torch.float64),
            torch.tensor(member_of, dtype=torch.int64),
            torch.tensor(width, dtype=torch.float64),
        )

    def up_to(self, most_kev: float) -> LineSpectrum:
        """The lines at or below this energy."""
        return self._chosen(self.energy_kev <= most_kev)

    def above(self, least_kev: float) -> LineSpectrum:
        """The lines above this energy."""
        return self._chosen(self.energy_kev > least_kev)

    def _chosen(self, keep: Tensor) -> LineSpectrum:
        parts = (self.energy_kev, self.photons_per_decay, self.member, self.width_kev)
        return LineSpectrum(*(part[keep] for part in parts))


def _pieces(
    chain: DecayChain, min_kev: float, max_kev: float, weakest: float
) -> list[tuple[float, float, int, float]]:
    """Mean energy in keV, photons per decay, index of the member and width in keV of each piece."""
    edges = torch.logspace(
        math.log10(min_kev), math.log10(max_kev), CONTINUUM_PIECES + 1, dtype=torch.float64
    )
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    rows = []
    for index, member in enumerate(chain.members):
        photons = bremsstrahlung(member, edges) + _weak_lines(member, edges, weakest)
        pieces = zip(middle.tolist(), photons.tolist(), width.tolist(), strict=True)
        rows += [(energy, count, index, span) for energy, count, span in pieces if count > 0]
    return rows


def _weak_lines(member: str, edges: Tensor, weakest: float) -> Tensor:
    """Photons per decay of all lines weaker than ``weakest`` in each piece, [piece]."""
    lines = photon_lines(member, float(edges[0]), float(edges[-1]))
    weak = [(line.energy_kev, line.photons_per_decay) for line in lines if line.photons_per_decay < weakest]
    energy, photons = torch.tensor(weak, dtype=torch.float64).reshape(-1, 2).T.contiguous()
    piece = (torch.searchsorted(edges, energy, right=True) - 1).clamp(0, len(edges) - 2)
    return torch.zeros(len(edges) - 1, dtype=torch.float64).index_add(0, piece, photons)
