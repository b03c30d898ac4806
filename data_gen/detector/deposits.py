"""Energy left in the detector by photons that interact in it: full energy, K escape, Compton continuum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import xraylib
from torch import Tensor

from data_gen.detector.volume import AddedVolume
from data_gen.materials import (
    interaction_attenuation_per_mm,
    k_fluorescence,
    material_named,
    process_mass_attenuation,
)

ELECTRON_KEV = 510.998950
NODES = 192
SECOND_NODES = 12


@dataclass(frozen=True)
class Deposits:
    """Energies left by one photon and their probabilities, [line, k] each; probabilities sum to 1 per line.

    ``peak``: column 0 is the full energy, the others are K escapes. ``continuum``: Compton electrons,
    alone or with a second scatter.
    """

    peak_kev: Tensor
    peak_probability: Tensor
    continuum_kev: Tensor
    continuum_probability: Tensor


def deposits(material: str, energy_kev: Tensor, volume: AddedVolume) -> Deposits:
    """What photons of these energies [line] leave in ``volume``, given that they interact in its pixel.

    A scattered photon that interacts again inside is absorbed, or scatters once more and is gone.
    Whatever leaves the volume is lost; K photons escape only where absorption was the first interaction.
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
    """Share of interactions that are photoelectric, coherent scatter not counted as one."""
    photoelectric = process_mass_attenuation(material, energy, "photoelectric")
    return photoelectric / (photoelectric + process_mass_attenuation(material, energy, "compton"))


def _k_escapes(
    material: str, energy: Tensor, volume: AddedVolume, depth_shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Energy left and probability of each K escape per photoelectric absorption, [line, k]."""
    fluorescence = k_fluorescence(material, energy)
    attenuation = interaction_attenuation_per_mm(material, fluorescence.energy_kev)
    escape = depth_shares @ volume.isotropic_escape(attenuation).T
    left = (energy[:, None] - fluorescence.energy_kev).clamp_min(0)
    return left, fluorescence.photons_per_absorption * escape


def _compton(
    material: str, energy: Tensor, volume: AddedVolume, depth_shares: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Per scatter: continuum energies and probabilities [line, k], chance of full energy [line]."""
    scattered, cosine, share = compton_scatter(material, energy)
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


def compton_scatter(material: str, energy_kev: Tensor, nodes: int = NODES) -> tuple[Tensor, Tensor, Tensor]:
    """Compton scatter of photons [line] at electron energies evenly spaced up to the Compton edge.

    Klein-Nishina with the incoherent scattering function of each element (xraylib); electrons at rest,
    so no Doppler broadening.

    Returns:
        scattered photon energy in keV, cosine of its angle, and share of scatters, [line, nodes] each.
    """
    energy = energy_kev[:, None]
    lowest = energy / (1 + 2 * energy / ELECTRON_KEV)
    steps = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    scattered = energy - steps * (energy - lowest)
    cosine = (1 - ELECTRON_KEV * (1 / scattered - 1 / energy)).clamp(-1, 1)
    fractions = material_named(material).mass_fractions
    angle = cosine.acos()
    per_angle = [
        [sum(share * xraylib.DCS_Compt(z, e, a) for z, share in fractions) for a in row]
        for e, row in zip(energy_kev.tolist(), angle.tolist(), strict=True)
    ]
    # Evenly spaced in energy, so the solid angle of a node goes as d cos / dE = m / E'^2.
    density = torch.tensor(per_angle, dtype=torch.float64) / scattered**2
    return scattered, cosine, density / density.sum(1, keepdim=True)


def klein_nishina_electrons(energy_kev: Tensor, nodes: int = SECOND_NODES) -> tuple[Tensor, Tensor]:
    """Electron energies in keV and their shares by Klein-Nishina, [..., nodes] for photon energies [...]."""
    steps = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    ratio = 1 - steps * (1 - 1 / (1 + 2 * energy_kev / ELECTRON_KEV))[..., None]
    cosine = 1 - ELECTRON_KEV / energy_kev[..., None] * (1 / ratio - 1)
    density = 1 / ratio + ratio - (1 - cosine**2)
    return energy_kev[..., None] * (1 - ratio), density / density.sum(-1, keepdim=True)
