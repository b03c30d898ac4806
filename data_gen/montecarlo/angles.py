"""Angular distributions of Compton and Rayleigh scatter: sampling, and the density that is sampled.

Both come from one table over energy (keV) and sin(angle / 2), for a material. Source: the Klein-Nishina
formula times the incoherent scattering function, and Thomson's formula times the squared form factor;
functions and factors of the elements are xraylib's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import xraylib
from torch import Tensor

from data_gen.materials import material_named

ELECTRON_KEV = 510.998950
_BINS = 256
_ENERGIES = 96
_LOWEST_KEV, _HIGHEST_KEV = 4.0, 3000.0
_KEV_ANGSTROM = 12.39841984

Scatter = Literal["compton", "rayleigh"]


@dataclass(frozen=True)
class ScatterAngles:
    """Probability density of the scattering angle per steradian, constant in bins of sin(angle / 2).

    Between tabulated energies the two neighbouring tables are mixed, in sampling as in the density, so that
    ``per_steradian`` is exactly the density of what ``draw`` samples.
    """

    density: Tensor
    """[energy, bin] per steradian."""
    cumulative: Tensor
    """[energy * bin]: each table's distribution function plus its row number, so that all of it ascends."""

    def draw(self, energy_kev: Tensor, generator: torch.Generator) -> Tensor:
        """Cosine of the scattering angle, sampled for photons of these energies, [n]."""
        row, share = _row(energy_kev)
        random = torch.rand(3, len(energy_kev), generator=generator, dtype=torch.float64, device=row.device)
        row = row + (random[0] < share).to(torch.int64)
        index = torch.searchsorted(self.cumulative, row + random[1], right=True)
        half_sine = torch.stack((index % _BINS, index % _BINS + 1)).to(torch.float64) / _BINS
        low, high = half_sine.square()
        cosine: Tensor = 1 - 2 * (low + random[2] * (high - low))
        return cosine

    def per_steradian(self, energy_kev: Tensor, cosine: Tensor) -> Tensor:
        """Density per steradian [n] of the scattering angle with this cosine [n]."""
        row, share = _row(energy_kev)
        index = (((1 - cosine) / 2).clamp_min(0).sqrt() * _BINS).to(torch.int64).clamp_max(_BINS - 1)
        flat = self.density.reshape(-1)
        low = row * _BINS + index
        return (1 - share) * flat[low] + share * flat[low + _BINS]


def scatter_angles(material: str, process: Scatter) -> ScatterAngles:
    """The table of a material: Klein-Nishina times the incoherent scattering function, or Thomson times the
    squared form factor.
    """
    return _table(material_named(material).mass_fractions, process)


@cache
def _table(mass_fractions: tuple[tuple[int, float], ...], process: Scatter) -> ScatterAngles:
    """See :func:`scatter_angles`."""
    energy = _LOWEST_KEV * (_HIGHEST_KEV / _LOWEST_KEV) ** torch.linspace(
        0, 1, _ENERGIES, dtype=torch.float64
    )
    half_sine = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
    cosine = 1 - 2 * half_sine.square()
    momentum = energy[:, None] / _KEV_ANGSTROM * half_sine
    electrons = torch.zeros_like(momentum)
    for z, share in mass_fractions:
        electrons += share / float(xraylib.AtomicWeight(z)) * _structure(z, momentum, process)
    per_steradian = electrons * _free(energy[:, None], cosine, process)
    solid = 2 * math.pi * 2 * torch.linspace(0, 1, _BINS + 1, dtype=torch.float64).square().diff()
    share_of_bin = per_steradian * solid
    total = share_of_bin.sum(1, keepdim=True)
    rising = (share_of_bin / total).cumsum(1)
    rising = rising / rising[:, -1:]
    rows = torch.arange(_ENERGIES, dtype=torch.float64)[:, None]
    return ScatterAngles(per_steradian / total, (rising + rows).reshape(-1))


def compton_energy_kev(energy_kev: Tensor, cosine: Tensor) -> Tensor:
    """Energy of a photon after Compton scatter on an electron at rest, by Compton's formula."""
    return energy_kev / (1 + energy_kev / ELECTRON_KEV * (1 - cosine))


def turned(direction: Tensor, cosine: Tensor, generator: torch.Generator) -> Tensor:
    """Unit vectors [n, 3] at an angle of this cosine [n] to ``direction``, with uniform azimuth."""
    turn = (
        2
        * math.pi
        * torch.rand(len(direction), generator=generator, dtype=direction.dtype, device=direction.device)
    )
    # The coordinate axis farthest from the direction gives a well-conditioned first normal.
    helper = torch.zeros_like(direction).scatter_(1, direction.abs().argmin(dim=1, keepdim=True), 1.0)
    first = torch.linalg.cross(direction, helper)
    first = first / first.norm(dim=1, keepdim=True)
    second = torch.linalg.cross(direction, first)
    sine = (1 - cosine.square()).clamp_min(0).sqrt()
    side = turn.cos()[:, None] * first + turn.sin()[:, None] * second
    new = cosine[:, None] * direction + sine[:, None] * side
    unit: Tensor = new / new.norm(dim=1, keepdim=True)
    return unit


def isotropic(count: int, generator: torch.Generator) -> Tensor:
    """Isotropic unit vectors [count, 3]."""
    random = torch.rand(2, count, generator=generator, dtype=torch.float64, device=generator.device)
    cosine, turn = 2 * random[0] - 1, 2 * math.pi * random[1]
    sine = (1 - cosine.square()).sqrt()
    return torch.stack((sine * turn.cos(), sine * turn.sin(), cosine), dim=1)


def _row(energy_kev: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the tabulated energy below each energy, and the fraction of the step to the next."""
    step = math.log(_HIGHEST_KEV / _LOWEST_KEV) / (_ENERGIES - 1)
    index = ((energy_kev / _LOWEST_KEV).log() / step).clamp(0, _ENERGIES - 1 - 1e-9)
    row = index.to(torch.int64)
    return row, index - row


def _structure(z: int, momentum: Tensor, process: Scatter) -> Tensor:
    """Incoherent scattering function, or squared form factor, at momentum transfers in 1/angstrom."""
    if process == "compton":
        values = [float(xraylib.SF_Compt(z, q)) for q in momentum.clamp(1e-3, 1e3).reshape(-1).tolist()]
    else:
        values = [float(xraylib.FF_Rayl(z, q)) ** 2 for q in momentum.clamp_max(1e3).reshape(-1).tolist()]
    return torch.tensor(values, dtype=torch.float64).reshape(momentum.shape)


def _free(energy_kev: Tensor, cosine: Tensor, process: Scatter) -> Tensor:
    """Differential cross section of a free electron per steradian, up to a constant."""
    if process == "rayleigh":
        return (1 + cosine.square()).expand(len(energy_kev), -1)
    ratio = compton_energy_kev(energy_kev, cosine) / energy_kev
    return ratio.square() * (ratio + 1 / ratio - (1 - cosine.square()))
