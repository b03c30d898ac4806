"""Photon transport through the object and through a collimator, to the detector's face.

Photons carry mm, keV and weights (see ``photons.py``). Object: Woodcock tracking; collimator: exact path
lengths in material. Interactions are photoelectric absorption with K X-rays, Compton and Rayleigh scatter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from data_gen.montecarlo.body import Tissues
from data_gen.montecarlo.collimator_path import collimator_path
from data_gen.montecarlo.direction_biasing import CollimatorBias, DirectionBias, emitted
from data_gen.montecarlo.medium import Medium
from data_gen.montecarlo.panel import Panel
from data_gen.montecarlo.photons import (
    COLLIMATOR,
    FLUORESCENCE,
    OBJECT,
    OPEN,
    PENETRATED,
    Photons,
    concatenated,
)
from data_gen.montecarlo.scatter import scattered
from data_gen.montecarlo.variance_reduction import Sampling, first_interaction, uniform

LEAST_KEV = 10.0
"""Outside the detector, photons below this energy are dropped."""
_BIASED = 0.7
"""Fraction of scattered photons whose direction is biased, where weights are allowed."""


def through_body(
    photons: Photons,
    tissues: Tissues,
    bias: DirectionBias,
    sampling: Sampling,
    most_scatters: float = math.inf,
) -> Photons:
    """Photons that leave the object, after all their scatters in it; those of more than ``most_scatters`` are
    dropped."""
    left: list[Photons] = []
    scatters = 0
    while len(photons):
        position, stopped, tissue = tissues.collide(photons, sampling.generator)
        left.append(photons.take(~stopped))
        if scatters >= most_scatters:
            break
        scatters += 1
        photons, tissue = photons.with_fields(position=position).take(stopped), tissue[stopped]
        parts = [
            _scatter_in(photons.take(tissue == k), medium, bias, sampling)
            for k, medium in enumerate(tissues.media)
        ]
        photons = _after_roulette(concatenated(parts), sampling)
    return concatenated(left)


def _scatter_in(photons: Photons, medium: Medium, bias: DirectionBias, sampling: Sampling) -> Photons:
    """Photons after an interaction in a tissue; absorbed ones are dropped, since K X-rays of tissue are below
    5 keV.
    """
    compton, rayleigh, _ = medium.shares(photons.energy_kev)
    weight = sampling.survive(photons.weight, compton + rayleigh)
    coherent = uniform(len(photons), sampling.generator) * (compton + rayleigh) < rayleigh
    analog = sampling.analog_fraction(_BIASED)
    kind = photons.kind.new_full((len(photons),), OBJECT)
    return scattered(
        photons.with_fields(weight=weight, kind=kind), medium, coherent, sampling.generator, bias, analog
    )


@dataclass(frozen=True)
class Collimator:
    """The material in front of one panel's detector, in panel coordinates."""

    panel: Panel
    metal: Medium

    def pass_through(self, photons: Photons, sampling: Sampling) -> Photons:
        """Photons on the face of the detector (panel coordinates), after all their interactions in the
        collimator.

        Photons scattered back to the object or to other panels are lost.
        """
        arrived: list[Photons] = []
        bias = CollimatorBias(self.panel, self.metal)
        while len(photons):
            path = collimator_path(self.panel, photons.position, photons.direction)
            length = path.length_mm
            per_mm = self.metal.per_mm(photons.energy_kev)
            passing, staying = sampling.divide(photons.weight, length * per_mm)
            crossed = (photons.kind == OPEN) & (length > 1e-9)
            kind = torch.where(crossed, PENETRATED, photons.kind)
            hits = self.panel.to_crystal_mm(photons.position, photons.direction).isfinite()
            arrived.append(
                _after_roulette(photons.with_fields(weight=passing, kind=kind).take(hits), sampling)
            )
            kept = sampling.roulette(staying, photons.line)
            # From the waists on, half a plate is left to go through.
            worth = kept * torch.exp(-per_mm * self.panel.half_plate_mm)
            splits = torch.where(kept > 0, sampling.splits(worth, photons.line), 0)
            index = torch.arange(len(kept), device=kept.device).repeat_interleave(splits)
            depth = first_interaction((length * per_mm)[index], sampling.generator) / per_mm[index]
            run = path.take(index).distance_at(depth)
            photons = photons.with_fields(weight=kept / splits.clamp_min(1)).take(index)
            photons = photons.with_fields(position=photons.position + run[:, None] * photons.direction)
            photons = self._interact(photons, bias, sampling)
        return concatenated(arrived)

    def _interact(self, photons: Photons, bias: DirectionBias, sampling: Sampling) -> Photons:
        """Photons after an interaction in the material: scattered, or K X-rays of absorbed ones."""
        compton, rayleigh, photoelectric = self.metal.shares(photons.energy_kev)
        random = uniform(len(photons), sampling.generator)
        scatters, absorbed = random < compton + rayleigh, random >= 1 - photoelectric
        analog = sampling.analog_fraction(_BIASED)
        moved = photons.take(scatters)
        moved = moved.with_fields(kind=torch.where(moved.kind == FLUORESCENCE, FLUORESCENCE, COLLIMATOR))
        coherent = random[scatters] < rayleigh[scatters]
        moved = scattered(moved, self.metal, coherent, sampling.generator, bias, analog)
        sent = self._fluorescence(photons.take(absorbed), bias, analog, sampling)
        return _after_roulette(concatenated((moved, sent)), sampling)

    def _fluorescence(
        self, photons: Photons, bias: DirectionBias, analog: float, sampling: Sampling
    ) -> Photons:
        """K X-rays emitted by absorbed photons."""
        energy = self.metal.k_photon(photons.energy_kev, uniform(len(photons), sampling.generator))
        photons = photons.with_fields(energy_kev=energy).take(energy > LEAST_KEV)
        direction, weight = emitted(bias, photons.position, photons.energy_kev, analog, sampling.generator)
        kind = torch.full_like(photons.kind, FLUORESCENCE)
        return photons.with_fields(direction=direction, weight=photons.weight * weight, kind=kind)


def _after_roulette(photons: Photons, sampling: Sampling) -> Photons:
    """Photons that survive Russian roulette and are above the lowest energy."""
    weight = sampling.roulette(photons.weight, photons.line)
    return photons.with_fields(weight=weight).take((weight > 0) & (photons.energy_kev > LEAST_KEV))
