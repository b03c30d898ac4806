"""Where in the crystal of a panel photons from metal near it interact first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.scatter.metal.physics import at_energy, detector_attenuation


@dataclass(frozen=True)
class Inside:
    """Places in a crystal that photons come to."""

    before: Tensor
    """Way mm through the crystal to there."""
    run: Tensor
    """Length mm of their way that each place stands for."""


@dataclass(frozen=True)
class Crystal:
    """A plate of detector: photons that come obliquely leave through its sides, or enter there.

    Places in it are drawn by depth, half of them evenly and half as the least penetrating photons stop.
    """

    half_size: Tensor
    """Along (u, v) from its middle, [2] mm."""
    thickness: float
    """In mm."""
    attenuation: Tensor
    """In 1/mm, a table for ``at_energy``."""
    shallow: float
    """Attenuation of the least penetrating photons, 1/mm."""

    @classmethod
    def of(cls, camera: Camera, least_kev: Tensor) -> Crystal:
        """The crystal of each of a camera's panels, for photons of some energies [n] or more."""
        spec, table = camera.spec.detector, detector_attenuation(camera.detector_material)
        half_size = torch.tensor([spec.columns, spec.rows]) * spec.pitch_mm / 2
        shallow = float(at_energy(table, least_kev).max()) if len(least_kev) else 1 / spec.thickness_mm
        return cls(half_size, spec.thickness_mm, table, shallow)

    def drawn(self, draw: Tensor) -> tuple[Tensor, Tensor]:
        """Depths mm, and the depth mm that each stands for, by even draws in 0..1."""
        reached = -torch.expm1(torch.tensor(-self.shallow * self.thickness))
        even = draw < 0.5
        share = torch.where(even, 2 * draw, 2 * draw - 1)
        depth = torch.where(even, share * self.thickness, -torch.log1p(-share * reached) / self.shallow)
        law = self.shallow * torch.exp(-self.shallow * depth) / reached
        return depth, 2 / (1 / self.thickness + law)

    def inside(self, place: Tensor, heading: Tensor, depth: Tensor, stands_for: Tensor) -> Inside:
        """What photons that come to places (u, v, h) [..., 3] at a depth have behind them in the crystal."""
        cosine = heading[..., 2].clamp_min(1e-3)
        room = self.half_size + place[..., :2] * heading[..., :2].sign()
        aside = (room / heading[..., :2].abs().clamp_min(1e-6)).amin(dim=-1)
        return Inside(torch.minimum(depth / cosine, aside), stands_for / cosine)

    def stopped(self, photons: Tensor, energy_kev: Tensor, inside: Inside) -> Tensor:
        """Of photons that come towards places, those that interact about there."""
        mu = at_energy(self.attenuation, energy_kev)
        return photons * mu * inside.run * torch.exp(-mu * inside.before)
