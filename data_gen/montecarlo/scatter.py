"""Compton and Rayleigh scatter of photons that interact somewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.montecarlo.aim import Aim
from data_gen.montecarlo.angles import ScatterAngles, compton_energy_kev, turned
from data_gen.montecarlo.chance import uniform
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.photons import Photons


def scattered(
    photons: Photons,
    medium: Medium,
    rayleigh: Tensor,
    generator: torch.Generator,
    aim: Aim | None = None,
    natural: float = 1.0,
) -> Photons:
    """Photons [n] after a scatter, coherent where the mask ``rayleigh`` says.

    With ``natural`` < 1 only this share follows the law of scatter; the rest is aimed, and weights say so.
    """
    way, weight, energy = photons.way.clone(), photons.weight.clone(), photons.energy_kev.clone()
    for angles, chosen in ((medium.compton, ~rayleigh), (medium.rayleigh, rayleigh)):
        index = chosen.nonzero()[:, 0]
        if not len(index):
            continue
        part = photons.take(index)
        new, cosine, share = _one_law(part, angles, generator, aim, natural)
        way[index], weight[index] = new, part.weight * share
        if angles is medium.compton:
            energy[index] = compton_energy_kev(part.energy_kev, cosine)
    return photons.having(way=way, weight=weight, energy_kev=energy)


def _one_law(
    photons: Photons,
    angles: ScatterAngles,
    generator: torch.Generator,
    aim: Aim | None,
    natural: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """New directions, cosines of the angles of scatter, and factors on the weights."""
    cosine = angles.draw(photons.energy_kev, generator)
    way = turned(photons.way, cosine, generator)
    if aim is None or natural >= 1:
        return way, cosine, torch.ones_like(cosine)
    aimed = (uniform(len(photons), generator) >= natural).nonzero()[:, 0]
    way[aimed] = aim.draw(photons.place[aimed], photons.energy_kev[aimed], generator)
    cosine = (way * photons.way).sum(dim=1).clamp(-1, 1)
    law = angles.per_steradian(photons.energy_kev, cosine)
    mixed = natural * law + (1 - natural) * aim.per_steradian(photons.place, way, photons.energy_kev)
    return way, cosine, law / mixed
