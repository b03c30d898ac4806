"""Interaction data of a collimator metal, tabulated over energy (keV): attenuation, K X-rays, Compton angles.

Attenuation in 1/mm. Sources: ``data_gen.materials`` (xraylib, NIST XCOM); differential Compton cross sections
of xraylib.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import xraylib
from torch import Tensor

from data_gen.materials import (
    Material,
    interaction_attenuation_per_mm,
    k_fluorescence,
    material_named,
    process_mass_attenuation,
)
from data_gen.scatter.differential_cross_sections import compton_kev

K_GAP_KEV = 4.0
"""K lines farther apart than this are classes of their own: alpha and beta."""
LOWEST_KEV = 20.0
"""Compton photons below this energy do not escape from metal."""
REPEATED = 2
"""Number of classes below the lowest energy after one Compton scatter."""


def k_classes(line_kev: Tensor) -> Tensor:
    """Class of each K line, [line] int64: lines near each other are one, by rising energy."""
    order = line_kev.argsort()
    step = (line_kev[order].diff() > K_GAP_KEV).long()
    which = torch.zeros(len(line_kev), dtype=torch.int64)
    which[order] = torch.cat((step.new_zeros(min(1, len(line_kev))), step.cumsum(0)))
    return which


def k_edges(material: str) -> Tensor:
    """Lowest and highest K line of each class, ascending, [line class, 2] keV."""
    line = k_fluorescence(material, torch.ones(1, dtype=torch.float64) * 200.0).energy_kev
    which = k_classes(line)
    groups = [line[which == k] for k in range(int(which.max()) + 1 if len(which) else 0)]
    ends = [[float(g.min()), float(g.max())] for g in groups]
    return torch.tensor(ends, dtype=torch.float64).reshape(-1, 2)


def arrival_edges(material: str, energies_kev: Tensor, compton_classes: int) -> Tensor:
    """Edges of the arrival energies, [g, k, 2] keV: K lines in ascending energy, then Compton in descending
    energy.

    Where a photon's energy is too low for K X-rays, its K classes are empty, at its own energy.
    """
    edges = torch.minimum(k_edges(material).expand(len(energies_kev), -1, -1), energies_kev[:, None, None])
    falling = compton_edges(energies_kev, compton_classes)
    return torch.cat((edges, torch.stack((falling[:, 1:], falling[:, :-1]), dim=-1)), dim=1)


def compton_edges(energies_kev: Tensor, classes: int) -> Tensor:
    """Edges of Compton classes in descending energy, [g, classes + 1] keV.

    In equal steps down to the lowest energy after one scatter, where the spectrum of single scatter has
    structure; below, where only multiply scattered photons arrive, in equal ratios.
    """
    back = compton_kev(energies_kev, torch.tensor(-1.0, dtype=torch.float64))[:, None]
    repeated = min(REPEATED, classes - 1)
    step = torch.linspace(0, 1, classes - repeated + 1, dtype=torch.float64)
    once = energies_kev[:, None] - (energies_kev[:, None] - back) * step
    share = torch.arange(1, repeated + 1, dtype=torch.float64) / max(1, repeated)
    lowest = torch.minimum(back / 2, torch.full_like(back, LOWEST_KEV))
    return torch.cat((once, back * (lowest / back) ** share), dim=1)


_LOWEST_KEV, _HIGHEST_KEV = 10.0, 2950.0
"""Range of the tabulated photon energies."""
_ENERGIES, _TURN_ENERGIES, _ANGLES = 3000, 200, 361
"""Numbers of tabulated energies, of energies with tabulated Compton angles, and of these angles; chosen, no
source.
"""


@dataclass(frozen=True)
class Metal:
    """Interaction data of a metal: energy nodes at equal ratios, angles in equal steps from 0 to pi."""

    k_kev: Tensor
    """Middle energy of each class of K lines, [line class]."""
    attenuation: Tensor
    """By absorption and Compton scatter, 1/mm at [energy]."""
    k_photons: Tensor
    """K X-rays of each class per interacting photon, [line class, energy]."""
    compton: Tensor
    """Compton photons per interacting photon, [energy]."""
    turns: Tensor
    """Fraction of Compton photons per sr by scattering angle, [energy of turns, angle]."""
    turned: Tensor
    """Cumulative fraction by scattering angle, [energy of turns, angle]."""

    @classmethod
    def of(cls, material: str) -> Metal:
        """The tables of a material, made once."""
        return _tables(material, material_named(material))

    def per_mm(self, energy_kev: Tensor) -> Tensor:
        """Attenuation in 1/mm at energies of any shape."""
        return at_energy(self.attenuation, energy_kev)

    def compton_per_sr(self, energy_kev: Tensor, angle: Tensor) -> Tensor:
        """Compton photons per sr and interacting photon, at energies and angles of the same shape."""
        column = (angle * ((_ANGLES - 1) / torch.pi)).round().long()
        turns = self.turns.to(angle.dtype).flatten()
        law = turns[_row(energy_kev, len(self.turns)) * _ANGLES + column]
        return law * at_energy(self.compton, energy_kev)

    def turn(self, energy_kev: Tensor, draw: Tensor) -> Tensor:
        """Scattering angles of Compton photons, sampled by uniform numbers in 0..1."""
        row = _row(energy_kev, len(self.turned))
        table = (self.turned + torch.arange(len(self.turned))[:, None]).flatten()
        above = torch.searchsorted(table, row + draw.double(), right=True)
        above = torch.minimum(above.clamp_min(row * _ANGLES + 1), row * _ANGLES + _ANGLES - 1)
        part = (row + draw.double() - table[above - 1]) / (table[above] - table[above - 1]).clamp_min(1e-12)
        angle = (above - 1 - row * _ANGLES + part.clamp(0, 1)) * (torch.pi / (_ANGLES - 1))
        return angle.to(draw.dtype)


def at_energy(table: Tensor, energy_kev: Tensor) -> Tensor:
    """Value of a table at the energy node nearest to each energy."""
    return table.to(energy_kev.dtype)[_row(energy_kev, len(table))]


def energy_nodes(count: int) -> Tensor:
    """Energies of the nodes of a table, [count] keV."""
    ends = torch.tensor([_LOWEST_KEV, _HIGHEST_KEV], dtype=torch.float64).log()
    return torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64).exp()


def detector_attenuation(material: str) -> Tensor:
    """Attenuation of a detector in 1/mm as a table for :func:`at_energy`."""
    return interaction_attenuation_per_mm(material, energy_nodes(_ENERGIES))


def _row(energy_kev: Tensor, count: int) -> Tensor:
    """Node nearest to energies."""
    step = float(torch.tensor(_HIGHEST_KEV / _LOWEST_KEV).log()) / (count - 1)
    return ((energy_kev / _LOWEST_KEV).log() / step).round().long().clamp(0, count - 1)


@cache
def _tables(material: str, known: Material) -> Metal:
    """See :class:`Metal`; a material that has changed gets tables of its own."""
    energy = energy_nodes(_ENERGIES)
    total = interaction_attenuation_per_mm(material, energy)
    to_share = known.density_g_cm3 / 10 / total
    absorbed = process_mass_attenuation(material, energy, "photoelectric") * to_share
    lines = k_fluorescence(material, energy)
    edges = k_edges(material)
    k_photons = torch.zeros(len(edges), _ENERGIES, dtype=torch.float64)
    k_photons.index_add_(0, k_classes(lines.energy_kev), lines.photons_per_absorption.T * absorbed)
    turns, turned = _turns(material)
    return Metal(
        k_kev=edges.mean(dim=1),
        attenuation=total,
        k_photons=k_photons,
        compton=process_mass_attenuation(material, energy, "compton") * to_share,
        turns=turns,
        turned=turned,
    )


def _turns(material: str) -> tuple[Tensor, Tensor]:
    """Klein and Nishina with the incoherent scattering function (xraylib), per sr and up to an angle."""
    angle = torch.linspace(0.0, torch.pi, _ANGLES, dtype=torch.float64)
    angles = angle.clamp_min(0.003).tolist()
    parts = material_named(material).mass_fractions
    rows = [
        [sum(w * xraylib.DCS_Compt(z, e, a) for z, w in parts) for a in angles]
        for e in energy_nodes(_TURN_ENERGIES).tolist()
    ]
    law = torch.tensor(rows, dtype=torch.float64)
    ring = law * 2 * torch.pi * angle.sin()
    below = torch.nn.functional.pad(torch.cumulative_trapezoid(ring, angle, dim=1), (1, 0))
    return law / below[:, -1:], below / below[:, -1:]
