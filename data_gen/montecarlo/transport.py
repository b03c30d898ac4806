"""Photons through the object and through a collimator, up to the detector's face."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from data_gen.montecarlo.aim import Aim, emitted
from data_gen.montecarlo.aim_inside import InsideAim
from data_gen.montecarlo.body import Tissues
from data_gen.montecarlo.chance import Chance, first_interaction, uniform
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.metal import metal_path
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.photons import COLLIMATOR, FLUORESCENCE, OBJECT, OPEN, PENETRATED, Photons, together
from data_gen.montecarlo.scatter import scattered

LEAST_KEV = 10.0
"""Outside the detector, photons below this energy are given up."""
_AIMED = 0.7
"""Share of scattered photons sent towards what counts, where weights are allowed."""


def through_body(photons: Photons, tissues: Tissues, aim: Aim, chance: Chance) -> Photons:
    """Photons that leave the object, with all their scatters behind them."""
    left: list[Photons] = []
    while len(photons):
        place, stopped, tissue = tissues.collide(photons, chance.generator)
        left.append(photons.take(~stopped))
        photons, tissue = photons.having(place=place).take(stopped), tissue[stopped]
        parts = [
            _scatter_in(photons.take(tissue == k), medium, aim, chance)
            for k, medium in enumerate(tissues.media)
        ]
        photons = _worth_following(together(parts), chance)
    return together(left)


def _scatter_in(photons: Photons, medium: Medium, aim: Aim, chance: Chance) -> Photons:
    """Photons after an interaction in a tissue; absorbed ones are gone, their fluorescence is too soft."""
    compton, rayleigh, _ = medium.shares(photons.energy_kev)
    weight = chance.survive(photons.weight, compton + rayleigh)
    coherent = uniform(len(photons), chance.generator) * (compton + rayleigh) < rayleigh
    natural = chance.analog_share(_AIMED)
    kind = photons.kind.new_full((len(photons),), OBJECT)
    return scattered(
        photons.having(weight=weight, kind=kind), medium, coherent, chance.generator, aim, natural
    )


@dataclass(frozen=True)
class Collimator:
    """The material in front of one panel's detector, in the panel's coordinates."""

    panel: Panel
    metal: Medium

    def pass_through(self, photons: Photons, chance: Chance) -> Photons:
        """Photons (local) on the face of the detector, with all that happened to them in the collimator.

        What it sends back towards the object, or to other panels, is lost.
        """
        arrived: list[Photons] = []
        aim = InsideAim(self.panel, self.metal)
        while len(photons):
            path = metal_path(self.panel, photons.place, photons.way)
            length = path.length_mm
            per_mm = self.metal.per_mm(photons.energy_kev)
            passing, staying = chance.divide(photons.weight, length * per_mm)
            crossed = (photons.kind == OPEN) & (length > 1e-9)
            kind = torch.where(crossed, PENETRATED, photons.kind)
            hits = self.panel.to_crystal_mm(photons.place, photons.way).isfinite()
            arrived.append(_worth_following(photons.having(weight=passing, kind=kind).take(hits), chance))
            kept = chance.thin(staying, photons.line)
            # From the waists on, half a plate is left to go through.
            worth = kept * torch.exp(-per_mm * self.panel.half_plate_mm)
            copies = torch.where(kept > 0, chance.copies(worth, photons.line), 0)
            index = torch.arange(len(kept), device=kept.device).repeat_interleave(copies)
            depth = first_interaction((length * per_mm)[index], chance.generator) / per_mm[index]
            run = path.take(index).distance_at(depth)
            photons = photons.having(weight=kept / copies.clamp_min(1)).take(index)
            photons = photons.having(place=photons.place + run[:, None] * photons.way)
            photons = self._interact(photons, aim, chance)
        return together(arrived)

    def _interact(self, photons: Photons, aim: Aim, chance: Chance) -> Photons:
        """Photons after an interaction in the material: scattered, or K photons of absorbed ones."""
        compton, rayleigh, photoelectric = self.metal.shares(photons.energy_kev)
        random = uniform(len(photons), chance.generator)
        scatters, absorbed = random < compton + rayleigh, random >= 1 - photoelectric
        natural = chance.analog_share(_AIMED)
        moved = photons.take(scatters)
        moved = moved.having(kind=torch.where(moved.kind == FLUORESCENCE, FLUORESCENCE, COLLIMATOR))
        coherent = random[scatters] < rayleigh[scatters]
        moved = scattered(moved, self.metal, coherent, chance.generator, aim, natural)
        sent = self._fluorescence(photons.take(absorbed), aim, natural, chance)
        return _worth_following(together((moved, sent)), chance)

    def _fluorescence(self, photons: Photons, aim: Aim, natural: float, chance: Chance) -> Photons:
        """K photons in place of absorbed ones."""
        energy = self.metal.k_photon(photons.energy_kev, uniform(len(photons), chance.generator))
        photons = photons.having(energy_kev=energy).take(energy > LEAST_KEV)
        way, weight = emitted(aim, photons.place, photons.energy_kev, natural, chance.generator)
        kind = torch.full_like(photons.kind, FLUORESCENCE)
        return photons.having(way=way, weight=photons.weight * weight, kind=kind)


def _worth_following(photons: Photons, chance: Chance) -> Photons:
    """Photons that are not given up."""
    weight = chance.thin(photons.weight, photons.line)
    return photons.having(weight=weight).take((weight > 0) & (photons.energy_kev > LEAST_KEV))
