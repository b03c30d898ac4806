"""Energy deposited in a detector of given resolution, and the probability of each recorded energy bin.

Input are photon energies in keV and a volume whose charge is added to one event; full-energy peak, K escape
peaks and Compton continuum follow from cross sections (``data_gen.materials``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.detector.compton import compton_scatter, klein_nishina_electrons
from data_gen.detector.volume import AddedVolume
from data_gen.materials import (
    interaction_attenuation_per_mm,
    k_fluorescence,
    process_mass_attenuation,
)

NODES = 192
"""Energies after Compton scatter for each line; chosen, no source."""


@dataclass(frozen=True)
class Deposits:
    """Deposited energies of one photon and their probabilities, [line, k] each; they sum to 1 per line.

    ``peak``: column 0 is the full energy, the others are K escapes. ``continuum``: Compton electrons,
    alone or with a second scatter.
    """

    peak_kev: Tensor
    peak_probability: Tensor
    continuum_kev: Tensor
    continuum_probability: Tensor


def deposits(material: str, energy_kev: Tensor, volume: AddedVolume) -> Deposits:
    """Energy deposited in ``volume`` by photons of these energies [line] that interact in its pixel.

    A scattered photon that interacts again inside is absorbed, or scatters once more and is lost.
    Photons that leave the volume are lost; K X-rays escape only where absorption was the first interaction.
    """
    energy = energy_kev.detach().to("cpu", torch.float64)
    attenuation = interaction_attenuation_per_mm(material, energy)
    depth_shares = volume.depth_shares(attenuation)
    photoelectric = _photoelectric_share(material, energy)
    escape_kev, escaped = _k_escapes(material, energy, volume, depth_shares)
    compton_kev, compton, absorbed = _compton(material, energy, volume, depth_shares)
    escaped = photoelectric[:, None] * escaped
    compton = (1 - photoelectric)[:, None] * compton
    absorbed = (1 - photoelectric) * absorbed
    full = photoelectric - escaped.sum(1) + absorbed
    return Deposits(
        torch.cat((energy[:, None], escape_kev), dim=1),
        torch.cat((full[:, None], escaped), dim=1),
        compton_kev,
        compton,
    )


def _photoelectric_share(material: str, energy: Tensor) -> Tensor:
    """Fraction of interactions that are photoelectric, coherent scatter not counted."""
    photoelectric = process_mass_attenuation(material, energy, "photoelectric")
    return photoelectric / (photoelectric + process_mass_attenuation(material, energy, "compton"))


def _k_escapes(
    material: str, energy: Tensor, volume: AddedVolume, depth_shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Deposited energy and probability of each K escape per photoelectric absorption, [line, k]."""
    fluorescence = k_fluorescence(material, energy)
    attenuation = interaction_attenuation_per_mm(material, fluorescence.energy_kev)
    escape = depth_shares @ volume.isotropic_escape(attenuation).T
    left = (energy[:, None] - fluorescence.energy_kev).clamp_min(0)
    return left, fluorescence.photons_per_absorption * escape


def _compton(
    material: str, energy: Tensor, volume: AddedVolume, depth_shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Per scatter: continuum energies and probabilities [line, k], probability of full energy [line]."""
    scattered, cosine, share = compton_scatter(material, energy, NODES)
    electron = energy[:, None] - scattered
    layers = volume.escape(interaction_attenuation_per_mm(material, scattered), cosine)
    leaves = torch.einsum("lnd,ld->ln", layers, depth_shares)
    photoelectric = _photoelectric_share(material, scattered)
    second, second_share = klein_nishina_electrons(scattered)
    once = share * leaves
    twice = (share * (1 - leaves) * (1 - photoelectric))[..., None] * second_share
    absorbed = (share * (1 - leaves) * photoelectric).sum(1)
    left = torch.cat((electron, (electron[..., None] + second).flatten(1)), dim=1)
    return left, torch.cat((once, twice.flatten(1)), dim=1), absorbed


FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian over its standard deviation."""
_STEP_KEV = 0.25
"""Step of the energies that deposits are collected on before they are blurred; chosen, no source."""

Blur = Callable[[Tensor, Tensor], Tensor]
"""Deposited energies [k] and bin edges [bin + 1] to the probability of each bin, [k, bin]."""


def record(left: Deposits, edges_kev: Tensor, blur: Blur) -> Tensor:
    """Probability that a photon is recorded in each bin, [line, bin]."""
    used = left.peak_probability.detach() > 0
    peaks = torch.zeros(*used.shape, len(edges_kev) - 1, dtype=torch.float64)
    peaks = peaks.index_put(
        used.nonzero(as_tuple=True),
        left.peak_probability[used][:, None] * blur(left.peak_kev[used], edges_kev),
    )
    grid_kev, on_grid = _on_grid(left.continuum_kev, left.continuum_probability)
    return peaks.sum(1) + on_grid @ blur(grid_kev, edges_kev)


def _on_grid(energy: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Spread probabilities [line, k] linearly over an even grid, so that one matrix product blurs all lines.

    The mean stays; the variance grows by at most (0.125 keV)^2, far below any resolution here.
    """
    count = int(float(energy.max()) / _STEP_KEV) + 2 if energy.numel() else 2
    place = energy / _STEP_KEV
    below = place.floor().to(torch.int64)
    above_share = place - below
    grid = torch.zeros(len(energy), count, dtype=torch.float64)
    grid = grid.scatter_add(1, below, probability * (1 - above_share))
    grid = grid.scatter_add(1, below + 1, probability * above_share)
    return torch.arange(count, dtype=torch.float64) * _STEP_KEV, grid


def gaussian_blur(energy_kev: Tensor, fwhm_kev: Tensor, edges_kev: Tensor) -> Tensor:
    """Probability of each bin for normal noise of this full width about each energy, [k, bin]."""
    scale = fwhm_kev[:, None] * (math.sqrt(2) / FWHM_PER_SIGMA)
    return 0.5 * torch.erf((edges_kev - energy_kev[:, None]) / scale).diff(dim=1)
