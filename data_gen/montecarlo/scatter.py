"""Compton and Rayleigh scatter of photons: new directions, energies in keV, and weights.

Angles follow ``angles.py``; a biased direction is weighted by the ratio of the physical to the sampled
density.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.montecarlo.angles import ScatterAngles, compton_energy_kev, turned
from data_gen.montecarlo.direction_biasing import DirectionBias
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.photons import Photons
from data_gen.montecarlo.variance_reduction import uniform


def scattered(
    photons: Photons,
    medium: Medium,
    rayleigh: Tensor,
    generator: torch.Generator,
    bias: DirectionBias | None = None,
    analog: float = 1.0,
) -> Photons:
    """Photons [n] after a scatter, coherent where the mask ``rayleigh`` [n] is true.

    Args:
        photons: at the place of the interaction.
        medium: material that they interact in.
        rayleigh: whether each scatters coherently, [n] bool.
        generator: source of the random numbers.
        bias: density of biased directions; None for none.
        analog: fraction of photons whose direction follows the physical law; the others are biased.
    """
    direction, weight, energy = photons.direction.clone(), photons.weight.clone(), photons.energy_kev.clone()
    for angles, chosen in ((medium.compton, ~rayleigh), (medium.rayleigh, rayleigh)):
        index = chosen.nonzero()[:, 0]
        if not len(index):
            continue
        part = photons.take(index)
        new, cosine, share = _one_law(part, angles, generator, bias, analog)
        direction[index], weight[index] = new, part.weight * share
        if angles is medium.compton:
            energy[index] = compton_energy_kev(part.energy_kev, cosine)
    return photons.with_fields(direction=direction, weight=weight, energy_kev=energy)


def _one_law(
    photons: Photons,
    angles: ScatterAngles,
    generator: torch.Generator,
    bias: DirectionBias | None,
    analog: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """New directions [n, 3], cosines of the scattering angles [n], and factors on the weights [n]."""
    cosine = angles.draw(photons.energy_kev, generator)
    direction = turned(photons.direction, cosine, generator)
    if bias is None or analog >= 1:
        return direction, cosine, torch.ones_like(cosine)
    biased = (uniform(len(photons), generator) >= analog).nonzero()[:, 0]
    direction[biased] = bias.draw(photons.position[biased], photons.energy_kev[biased], generator)
    cosine = (direction * photons.direction).sum(dim=1).clamp(-1, 1)
    law = angles.per_steradian(photons.energy_kev, cosine)
    mixed = analog * law + (1 - analog) * bias.per_steradian(photons.position, direction, photons.energy_kev)
    return direction, cosine, law / mixed
