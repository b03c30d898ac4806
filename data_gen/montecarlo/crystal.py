"""Photons in the crystal: the place of the first interaction, and all energy deposits that follow.

A photon interacts by photoelectric absorption (perhaps followed by a K X-ray), Compton or Rayleigh scatter
until it leaves the crystal. Lengths are in mm, energies in keV. Cross sections: ``medium.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.angles import isotropic
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.photons import Photons, concatenated
from data_gen.montecarlo.scatter import scattered
from data_gen.montecarlo.variance_reduction import Sampling, first_interaction, uniform

LEAST_KEV = 5.0
"""Photons below this energy deposit it where they are."""


@dataclass(frozen=True)
class Deposits:
    """Energy deposits in the crystal, in no order."""

    event: Tensor
    """Index of the photon that each comes from, [k] int64."""
    position: Tensor
    """[k, 3] mm, in panel coordinates."""
    energy_kev: Tensor
    """[k]."""


@dataclass(frozen=True)
class Crystal:
    """The detector of one panel, in panel coordinates: a box of one material."""

    panel: Panel
    medium: Medium

    def first_interactions(self, photons: Photons, sampling: Sampling) -> Photons:
        """Photons (panel coordinates, outside the crystal) moved to their first interaction, before it
        happens.

        Coherent scatter does not count as the first interaction, but turns photons on their way to it.
        """
        face = _moved(photons, self.panel.to_crystal_mm(photons.position, photons.direction))
        optical = self._chord_mm(face.position, face.direction) * self.medium.per_mm(face.energy_kev)
        _, weight = sampling.divide(face.weight, optical)
        index = (weight > 0).nonzero()[:, 0]
        depth = first_interaction(optical[index], sampling.generator)
        photons = face.with_fields(weight=weight).take(index)
        photons = _moved(photons, depth / self.medium.per_mm(photons.energy_kev))
        coherent = self._is_coherent(photons, sampling.generator)
        kept, turning = [photons.take(~coherent)], photons.take(coherent)
        while len(turning):
            every = torch.ones_like(turning.kind, dtype=torch.bool)
            turning = self._next(
                scattered(turning, self.medium, every, sampling.generator), sampling.generator
            )
            coherent = self._is_coherent(turning, sampling.generator)
            kept.append(turning.take(~coherent))
            turning = turning.take(coherent)
        return concatenated(kept)

    def deposits(self, photons: Photons, generator: torch.Generator) -> Deposits:
        """Energy deposits of photons [n] that interact where they are, and of all their secondaries in the
        crystal.
        """
        event = torch.arange(len(photons), device=photons.weight.device)
        done: list[Deposits] = []
        photons = photons.with_fields(history=event)
        while len(photons):
            compton, rayleigh, _ = self.medium.shares(photons.energy_kev)
            random = uniform(len(photons), generator)
            soft = photons.energy_kev < LEAST_KEV
            coherent = (random < rayleigh) & ~soft
            # The first interaction is not coherent, by construction.
            if not done:
                coherent, random = torch.zeros_like(soft), rayleigh + random * (1 - rayleigh)
            turned = (random < compton + rayleigh) & ~soft
            moved = scattered(photons.take(turned), self.medium, coherent[turned], generator)
            sent = self._k_photons(photons.take(~turned), generator)
            lost = photons.energy_kev.clone()
            lost[turned] -= moved.energy_kev
            lost[~turned] -= sent.energy_kev
            done.append(Deposits(photons.history, photons.position, lost))
            photons = concatenated((moved, sent.take(sent.energy_kev > 0)))
            photons = self._next(photons, generator)
        return Deposits(
            *(torch.cat([getattr(d, f) for d in done]) for f in ("event", "position", "energy_kev"))
        )

    def _k_photons(self, photons: Photons, generator: torch.Generator) -> Photons:
        """The K X-ray of each absorbed photon, of energy 0 where there is none."""
        energy = self.medium.k_photon(photons.energy_kev, uniform(len(photons), generator))
        energy = torch.where(photons.energy_kev < LEAST_KEV, 0.0, energy)
        return photons.with_fields(energy_kev=energy, direction=isotropic(len(photons), generator))

    def _next(self, photons: Photons, generator: torch.Generator) -> Photons:
        """Photons at their next interaction; those that leave the crystal are dropped."""
        path = -torch.log1p(-uniform(len(photons), generator)) / self.medium.per_mm(photons.energy_kev)
        inside = path < self._chord_mm(photons.position, photons.direction)
        return _moved(photons, path).take(inside)

    def _is_coherent(self, photons: Photons, generator: torch.Generator) -> Tensor:
        """Whether an interaction is a coherent scatter."""
        return uniform(len(photons), generator) < self.medium.shares(photons.energy_kev)[1]

    def _chord_mm(self, position: Tensor, direction: Tensor) -> Tensor:
        """Path length from points inside (or on the surface) to the exit, [n]."""
        half_a, half_b = self.panel.half_size
        low = position.new_tensor((-half_a, -half_b, self.panel.detector_mm))
        high = position.new_tensor((half_a, half_b, self.panel.detector_mm + self.panel.depth_mm))
        direction = torch.where(direction.abs() < 1e-12, 1e-12, direction)
        return (
            torch.where(direction > 0, (high - position) / direction, (low - position) / direction)
            .amin(dim=1)
            .clamp_min(0)
        )


def _moved(photons: Photons, path_mm: Tensor) -> Photons:
    """Photons moved along their direction."""
    return photons.with_fields(position=photons.position + path_mm[:, None] * photons.direction)
