"""What the metal of a collimator sends on of a photon that it stops: K photons and Compton photons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import xraylib
from torch import Tensor

from data_gen.materials import (
    interaction_attenuation_per_mm,
    k_fluorescence,
    material_named,
)
from data_gen.scatter.turning import arrival_classes

K_GAP_KEV = 4.0
"""K lines farther apart than this are classes of their own: alpha and beta."""
_ANGLES = 721


@dataclass(frozen=True)
class Metal:
    """The collimator's material at one energy of emission; coherent scatter counts as none."""

    energy_kev: float
    attenuation: float
    """By absorption and Compton scatter, 1/mm."""
    k_kev: Tensor
    """Middle energy of each class of K lines, [line class]."""
    k_photons: Tensor
    """Photons of each class per photon stopped, [line class]. What is Compton scattered counts here too: it
    is mostly absorbed nearby in the end, and makes K photons there."""
    compton: Tensor
    """Compton photons per sr and photon stopped, at equal steps of the angle from 0 to pi."""
    energies_kev: Tensor
    """Nodes of :attr:`out`, rising."""
    out: Tensor
    """Attenuation in 1/mm at the nodes."""

    @classmethod
    def of(cls, material: str, energy_kev: float) -> Metal:
        """A material at one energy."""
        energy = torch.tensor([energy_kev], dtype=torch.float64)
        total = float(interaction_attenuation_per_mm(material, energy_kev))
        lines = k_fluorescence(material, energy)
        rates, which = lines.photons_per_absorption[0], k_classes(lines.energy_kev)
        count = int(which.max()) + 1 if len(which) else 0
        zero = torch.zeros(count, dtype=torch.float64)
        middle = [
            (lines.energy_kev[which == k].min() + lines.energy_kev[which == k].max()) / 2
            for k in range(count)
        ]
        nodes = torch.logspace(1, torch.log10(energy)[0], 200, dtype=torch.float64)
        nodes[-1] = energy_kev
        return cls(
            energy_kev=energy_kev,
            attenuation=total,
            k_kev=torch.stack(middle) if middle else zero,
            k_photons=zero.index_add(0, which, rates),
            compton=_by_angle(material, energy_kev, xraylib.DCS_Compt) / total,
            energies_kev=nodes,
            out=interaction_attenuation_per_mm(material, nodes),
        )


def at_energy(table: Tensor, nodes_kev: Tensor, energy_kev: Tensor) -> Tensor:
    """What a table at nodes of equal ratio has nearest to an energy."""
    step = float((nodes_kev[-1] / nodes_kev[0]).log()) / (len(nodes_kev) - 1)
    index = ((energy_kev / float(nodes_kev[0])).log() / step).round().long()
    return table.to(energy_kev.dtype)[index.clamp(0, len(table) - 1)]


def at_angle(table: Tensor, angle: Tensor) -> Tensor:
    """What a table at equal steps from 0 to pi has nearest to an angle."""
    return table.to(angle.dtype)[(angle * ((len(table) - 1) / torch.pi)).round().long()]


def _by_angle(material: str, energy_kev: float, one: Callable[[int, float, float], float]) -> Tensor:
    """Differential attenuation at equal steps of the angle (the first not quite 0), 1/mm/sr."""
    metal = material_named(material)
    angle = torch.linspace(0.0, torch.pi, _ANGLES, dtype=torch.float64).clamp_min(0.003).tolist()
    sums = [sum(w * one(z, energy_kev, a) for z, w in metal.mass_fractions) for a in angle]
    return torch.tensor(sums, dtype=torch.float64) * metal.density_g_cm3 / 10


def k_classes(line_kev: Tensor) -> Tensor:
    """Class of each K line, [line] int64: lines near each other are one, by rising energy."""
    order = line_kev.argsort()
    step = (line_kev[order].diff() > K_GAP_KEV).long()
    which = torch.zeros(len(line_kev), dtype=torch.int64)
    which[order] = torch.cat((step.new_zeros(min(1, len(line_kev))), step.cumsum(0)))
    return which


def metal_arrivals(material: str, energies_kev: Tensor, compton_classes: int) -> Tensor:
    """Edges of the arrival energies, [g, k, 2] keV: K lines by rising energy, then Compton by falling
    energy.

    Where a photon cannot make K photons its K classes are empty, and at its own energy.
    """
    lines = k_fluorescence(material, energies_kev)
    which = k_classes(lines.energy_kev)
    groups = [lines.energy_kev[which == k] for k in range(int(which.max()) + 1 if len(which) else 0)]
    edges = torch.tensor([[float(g.min()), float(g.max())] for g in groups], dtype=torch.float64).reshape(
        -1, 2
    )
    edges = torch.minimum(edges.expand(len(energies_kev), -1, -1), energies_kev[:, None, None])
    return torch.cat((edges, arrival_classes(energies_kev, compton_classes)[:, 1:]), dim=1)
