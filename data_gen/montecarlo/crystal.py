"""Photons in the crystal: where they interact first, and where they leave their energy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.montecarlo.angles import isotropic
from data_gen.montecarlo.chance import Chance, first_interaction, uniform
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.photons import Photons, together
from data_gen.montecarlo.scatter import scattered

LEAST_KEV = 5.0
"""In the crystal, photons below this energy stop where they are."""


@dataclass(frozen=True)
class Deposits:
    """Energies left in the crystal, in no order."""

    event: Tensor
    """Photon that each comes from, [k] int64."""
    place: Tensor
    """[k, 3], in the panel's coordinates."""
    energy_kev: Tensor
    """[k]."""


@dataclass(frozen=True)
class Crystal:
    """The detector of one panel, in the panel's coordinates: a box of one material."""

    panel: Panel
    medium: Medium

    def first_interactions(self, photons: Photons, chance: Chance) -> Photons:
        """Photons (local, on their way to the crystal) where they first interact, before they do.

        Coherent scatter is no interaction, but it turns photons; as chance has it once, before the first.
        """
        face = _moved(photons, self.panel.to_crystal_mm(photons.place, photons.way))
        optical = self._chord_mm(face.place, face.way) * self.medium.per_mm(face.energy_kev)
        _, weight = chance.divide(face.weight, optical)
        index = (weight > 0).nonzero()[:, 0]
        depth = first_interaction(optical[index], chance.generator)
        photons = face.having(weight=weight).take(index)
        photons = _moved(photons, depth / self.medium.per_mm(photons.energy_kev))
        coherent = self._is_coherent(photons, chance.generator)
        kept, turning = [photons.take(~coherent)], photons.take(coherent)
        while len(turning):
            every = torch.ones_like(turning.kind, dtype=torch.bool)
            turning = self._next(scattered(turning, self.medium, every, chance.generator), chance.generator)
            coherent = self._is_coherent(turning, chance.generator)
            kept.append(turning.take(~coherent))
            turning = turning.take(coherent)
        return together(kept)

    def deposits(self, photons: Photons, generator: torch.Generator) -> Deposits:
        """Energy left by photons [n] that interact where they are, and by all that follows in the crystal."""
        event = torch.arange(len(photons), device=photons.weight.device)
        done: list[Deposits] = []
        photons = photons.having(history=event)
        while len(photons):
            compton, rayleigh, _ = self.medium.shares(photons.energy_kev)
            random = uniform(len(photons), generator)
            soft = photons.energy_kev < LEAST_KEV
            coherent = (random < rayleigh) & ~soft
            # The first interaction is no coherent one: it was chosen so.
            if not done:
                coherent, random = torch.zeros_like(soft), rayleigh + random * (1 - rayleigh)
            turned = (random < compton + rayleigh) & ~soft
            moved = scattered(photons.take(turned), self.medium, coherent[turned], generator)
            sent = self._k_photons(photons.take(~turned), generator)
            lost = photons.energy_kev.clone()
            lost[turned] -= moved.energy_kev
            lost[~turned] -= sent.energy_kev
            done.append(Deposits(photons.history, photons.place, lost))
            photons = together((moved, sent.take(sent.energy_kev > 0)))
            photons = self._next(photons, generator)
        return Deposits(*(torch.cat([getattr(d, f) for d in done]) for f in ("event", "place", "energy_kev")))

    def _k_photons(self, photons: Photons, generator: torch.Generator) -> Photons:
        """A K photon for each absorbed photon, of energy 0 where there is none."""
        energy = self.medium.k_photon(photons.energy_kev, uniform(len(photons), generator))
        energy = torch.where(photons.energy_kev < LEAST_KEV, 0.0, energy)
        return photons.having(energy_kev=energy, way=isotropic(len(photons), generator))

    def _next(self, photons: Photons, generator: torch.Generator) -> Photons:
        """Photons at their next interaction; those that leave the crystal are gone."""
        path = -torch.log1p(-uniform(len(photons), generator)) / self.medium.per_mm(photons.energy_kev)
        inside = path < self._chord_mm(photons.place, photons.way)
        return _moved(photons, path).take(inside)

    def _is_coherent(self, photons: Photons, generator: torch.Generator) -> Tensor:
        """Whether an interaction is a coherent scatter."""
        return uniform(len(photons), generator) < self.medium.shares(photons.energy_kev)[1]

    def _chord_mm(self, place: Tensor, way: Tensor) -> Tensor:
        """Path from points inside (or on the surface) to the way out, [n]."""
        half_a, half_b = self.panel.half_size
        low = place.new_tensor((-half_a, -half_b, self.panel.detector_mm))
        high = place.new_tensor((half_a, half_b, self.panel.detector_mm + self.panel.depth_mm))
        way = torch.where(way.abs() < 1e-12, 1e-12, way)
        return torch.where(way > 0, (high - place) / way, (low - place) / way).amin(dim=1).clamp_min(0)


def _moved(photons: Photons, path_mm: Tensor) -> Photons:
    """Photons after a straight path."""
    return photons.having(place=photons.place + path_mm[:, None] * photons.way)
