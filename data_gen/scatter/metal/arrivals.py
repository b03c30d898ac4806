"""Classes of the energy in which photons that metal sends on arrive."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.materials import k_fluorescence
from data_gen.scatter.turning import compton_kev

K_GAP_KEV = 4.0
"""K lines farther apart than this are classes of their own: alpha and beta."""
LOWEST_KEV = 20.0
"""Compton photons of fewer keV do not get out of metal."""
REPEATED = 2
"""Classes below what one Compton scatter can leave."""


def k_classes(line_kev: Tensor) -> Tensor:
    """Class of each K line, [line] int64: lines near each other are one, by rising energy."""
    order = line_kev.argsort()
    step = (line_kev[order].diff() > K_GAP_KEV).long()
    which = torch.zeros(len(line_kev), dtype=torch.int64)
    which[order] = torch.cat((step.new_zeros(min(1, len(line_kev))), step.cumsum(0)))
    return which


def k_edges(material: str) -> Tensor:
    """Lowest and highest K line of each class, rising, [line class, 2] keV."""
    line = k_fluorescence(material, torch.ones(1, dtype=torch.float64) * 200.0).energy_kev
    which = k_classes(line)
    groups = [line[which == k] for k in range(int(which.max()) + 1 if len(which) else 0)]
    ends = [[float(g.min()), float(g.max())] for g in groups]
    return torch.tensor(ends, dtype=torch.float64).reshape(-1, 2)


def metal_arrivals(material: str, energies_kev: Tensor, compton_classes: int) -> Tensor:
    """Edges of the arrival energies, [g, k, 2] keV: K lines by rising energy, then Compton by falling
    energy.

    Where a photon cannot make K photons its K classes are empty, and at its own energy.
    """
    edges = torch.minimum(k_edges(material).expand(len(energies_kev), -1, -1), energies_kev[:, None, None])
    falling = compton_edges(energies_kev, compton_classes)
    return torch.cat((edges, torch.stack((falling[:, 1:], falling[:, :-1]), dim=-1)), dim=1)


def compton_edges(energies_kev: Tensor, classes: int) -> Tensor:
    """Edges of Compton classes by falling energy, [g, classes + 1] keV.

    Down to what one scatter leaves in equal steps, as the spectrum of single scatter has its structure there;
    below, where only photons arrive that scattered more often, in equal ratios.
    """
    back = compton_kev(energies_kev, torch.tensor(-1.0, dtype=torch.float64))[:, None]
    repeated = min(REPEATED, classes - 1)
    step = torch.linspace(0, 1, classes - repeated + 1, dtype=torch.float64)
    once = energies_kev[:, None] - (energies_kev[:, None] - back) * step
    share = torch.arange(1, repeated + 1, dtype=torch.float64) / max(1, repeated)
    lowest = torch.minimum(back / 2, torch.full_like(back, LOWEST_KEV))
    return torch.cat((once, back * (lowest / back) ** share), dim=1)
