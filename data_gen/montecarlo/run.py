"""The Monte Carlo simulation of a scan: photons followed from decay to recorded event.

Inputs are a camera, a source, photon lines in keV and perhaps an object; results are first interactions and
recorded counts per decay, with standard errors, by the class of history (``photons.CLASSES``). Cross sections
are those of ``data_gen.materials``; docs/physics.md, section 10, says what is simulated and what is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, EnergyBins, bin_index
from data_gen.detector import CdTeResponse
from data_gen.montecarlo.body import Body, Tissues
from data_gen.montecarlo.charge import ChargeModel
from data_gen.montecarlo.crystal import Crystal
from data_gen.montecarlo.direction_biasing import CameraBias, emitted
from data_gen.montecarlo.medium import Medium, medium
from data_gen.montecarlo.panel import Panel, rotation_positions
from data_gen.montecarlo.photons import OPEN, Photons, concatenated
from data_gen.montecarlo.source import Source
from data_gen.montecarlo.tally import Scores, Tally
from data_gen.montecarlo.transport import Collimator, through_body
from data_gen.montecarlo.variance_reduction import Analog, Forced, Sampling

BATCHES = 20
_AT_ONCE = 50_000
"""Photons followed together, which bounds the memory."""


class EmissionLines(Protocol):
    """Photon lines of a decay; ``data_gen.nuclides.spectrum.LineSpectrum`` is one implementation."""

    @property
    def energy_kev(self) -> Tensor:
        """Energies [line] in keV."""

    @property
    def photons_per_decay(self) -> Tensor:
        """Photons per decay [line]."""


@dataclass(frozen=True)
class Lines:
    """Photon lines given by hand: energies in keV and photons per decay, [line] each."""

    energy_kev: Tensor
    photons_per_decay: Tensor


def drawn_lines(lines: EmissionLines, device: torch.device) -> tuple[Tensor, Tensor]:
    """Energies [line] in keV and the cumulative distribution of lines [line].

    Raises:
        UserError: there is no line, or yields are negative or all zero.
    """
    energy = lines.energy_kev.to(device, torch.float64)
    strength = lines.photons_per_decay.to(device, torch.float64)
    sound = len(strength) == len(energy) > 0 and float(strength.min()) >= 0
    if not sound or float(strength.sum()) <= 0:
        raise UserError(
            f"lines.photons_per_decay must be {max(1, len(energy))} numbers of 0 or more, not all 0"
        )
    return energy, strength.cumsum(0) / strength.sum()


@dataclass(frozen=True)
class PanelGroup:
    """Panels of one rotation position that are identical in their own coordinates, simulated together."""

    panels: tuple[Panel, ...]
    numbers: tuple[int, ...]
    """Indices of these panels among those of the rotation position."""
    collimator: Collimator
    crystal: Crystal
    charge: ChargeModel

    def local(self, photons: Photons, owner: Tensor) -> Photons:
        """Photons that reach these panels, each in its panel's coordinates; ``owner`` [n] is the panel's
        index.
        """
        pairs = zip(self.numbers, self.panels, strict=True)
        return concatenated([panel.local(photons.take(owner == number)) for number, panel in pairs])


def panel_groups(
    panels: Sequence[Panel], metal: Medium, crystal: Medium, response: CdTeResponse
) -> list[PanelGroup]:
    """Groups of identical panels among those of a rotation position."""
    groups: list[list[int]] = []
    for number, panel in enumerate(panels):
        like = next((g for g in groups if panels[g[0]].same_shape(panel)), None)
        if like is None:
            groups.append([number])
        else:
            like.append(number)
    return [
        PanelGroup(
            tuple(panels[k] for k in group),
            tuple(group),
            Collimator(panels[group[0]], metal),
            Crystal(panels[group[0]], crystal),
            ChargeModel(response, panels[group[0]]),
        )
        for group in groups
    ]


def owning_panel(panels: Sequence[Panel], photons: Photons) -> Tensor:
    """Index of the panel whose detector each ray meets, or else whose plate it reaches first; -1 if none."""
    owner = torch.full_like(photons.line, -1)
    nearest = torch.full_like(photons.weight, torch.inf)
    for number, panel in enumerate(panels):
        local = panel.local(photons)
        outwards = local.direction[:, 2] > 1e-9
        run = (panel.plane_mm - panel.half_plate_mm - local.position[:, 2]) / local.direction[:, 2].clamp_min(
            1e-9
        )
        hits = panel.to_crystal_mm(local.position, local.direction).isfinite()
        run = torch.where(hits, -torch.inf, run.clamp_min(0))
        closer = outwards & (run < nearest)
        owner, nearest = torch.where(closer, number, owner), torch.where(closer, run, nearest)
    return owner


_ANYWHERE, _ANYWHERE_IN_BODY = 0.15, 0.3
"""Fractions of photons emitted isotropically, not biased: without and with an object that scatters."""
_ROULETTE = 0.2
"""Roulette weight, relative to the expected contribution of an average photon."""


class Simulation:
    """What stays the same during a simulation.

    Args:
        camera: the camera.
        source: where decays happen.
        lines: photon lines that decays emit.
        body: the object, if there is one.
        generator: source of all random numbers; its device is where everything is computed.
        forced: whether directions are biased and photons carry weights.
        metal: what the collimator is made of; by default the camera's material.
        object_scatters: scatters in the object that are followed, at most.

    Raises:
        UserError: the camera's response is no ``CdTeResponse``, or there is no line.
    """

    def __init__(
        self,
        camera: Camera,
        source: Source,
        lines: EmissionLines,
        body: Body | None,
        generator: torch.Generator,
        forced: bool,
        metal: Medium | None = None,
        object_scatters: float = math.inf,
    ) -> None:
        response, device = camera.response, generator.device
        if not isinstance(response, CdTeResponse):
            raise UserError(
                f"camera {camera.name}: the response is no CdTe crystal; the Monte Carlo records kind cdte"
            )
        self.source, self.generator = source, generator
        self.energy_kev, self.rising = drawn_lines(lines, device)
        self.metal = metal or medium(camera.collimator_material)
        self.object_scatters = object_scatters
        self.rotation_positions = rotation_positions(camera, device)
        crystal = medium(camera.detector_material)
        self.panel_groups = [
            panel_groups(panels, self.metal, crystal, response) for panels in self.rotation_positions
        ]
        self.tissues = Tissues(body, device) if body else None
        self.biases = [CameraBias(panels, self.metal) for panels in self.rotation_positions]
        least = _ROULETTE * self.biases[0].importance(self.energy_kev)
        self.sampling: Sampling = Forced(generator, least) if forced else Analog(generator)

    def follow(self, pose: int, count: int, bins: EnergyAxis, scores: Scores, batch: int) -> None:
        """Follow ``count`` photons with the camera at one rotation position, and add what they do to the
        scores.
        """
        photons = self._emit(pose, count)
        if self.tissues:
            photons = through_body(
                photons, self.tissues, self.biases[pose], self.sampling, self.object_scatters
            )
        owner = owning_panel(self.rotation_positions[pose], photons)
        for group in self.panel_groups[pose]:
            arrived = group.collimator.pass_through(group.local(photons, owner), self.sampling)
            interacting = group.crystal.first_interactions(arrived, self.sampling)
            self._score_interactions(group, interacting, bins, scores, batch)
            self._score_hits(group, interacting, bins, scores, batch)

    def _emit(self, pose: int, count: int) -> Photons:
        """Photons at emission."""
        random = torch.rand(count, generator=self.generator, dtype=torch.float64, device=self.rising.device)
        line = torch.searchsorted(self.rising, random, right=True).clamp_max(len(self.rising) - 1)
        position, energy = self.source.draw(count, self.generator), self.energy_kev[line]
        anywhere = self.sampling.analog_fraction(1 - (_ANYWHERE_IN_BODY if self.tissues else _ANYWHERE))
        direction, weight = emitted(self.biases[pose], position, energy, anywhere, self.generator)
        history = torch.arange(count, device=line.device)
        kind, nowhere = torch.full_like(line, OPEN), torch.full_like(line, -1)
        return Photons(position, direction, energy, weight, history, line, kind, nowhere)

    def _score_interactions(
        self, group: PanelGroup, photons: Photons, bins: EnergyAxis, scores: Scores, batch: int
    ) -> None:
        """Score first interactions, per decay as if the camera were always at this rotation position."""
        weight = len(self.rotation_positions) * photons.weight
        region = scores.regions[photons.first_pixel + group.crystal.panel.pixel(photons.position)]
        scores.interactions.add((photons.kind, region, photons.line), photons.history, weight)
        scores.totals[batch].index_put_((photons.kind, photons.line), weight, accumulate=True)
        _fill(scores.arrivals[batch], bins, photons.kind, photons.energy_kev, weight)

    def _score_hits(
        self, group: PanelGroup, photons: Photons, bins: EnergyAxis, scores: Scores, batch: int
    ) -> None:
        """Score what the electronics records of first interactions."""
        deposits = group.crystal.deposits(photons, self.generator)
        hits = group.charge.record(deposits, photons.position, self.generator)
        kind, weight = photons.kind[hits.event], photons.weight[hits.event]
        first, more = ~hits.linked, hits.linked
        _fill(scores.spectrum[batch], bins, kind[first], hits.energy_kev[first], weight[first])
        _fill(scores.linked[batch], bins, kind[more], hits.energy_kev[more], weight[more])
        index = bin_index(bins, hits.energy_kev)
        counted = ((index >= 0) & first).nonzero()[:, 0]
        event = hits.event[counted]
        region = scores.regions[photons.first_pixel[event] + hits.pixel[counted]]
        where = (kind[counted], region, index[counted])
        scores.counts.add(where, photons.history[event], weight[counted])


def _fill(scores: Tensor, bins: EnergyAxis, kind: Tensor, energy_kev: Tensor, weight: Tensor) -> None:
    """Add weights to scores [class, bin]."""
    index = bin_index(bins, energy_kev)
    kept = index >= 0
    scores.index_put_((kind[kept], index[kept]), weight[kept], accumulate=True)


def simulate(
    camera: Camera,
    source: Source,
    lines: EmissionLines,
    photons: int,
    seed: int,
    body: Body | None = None,
    energy_bins: EnergyAxis | None = None,
    regions: Tensor | None = None,
    forced: bool = True,
    progress: Callable[[float], None] | None = None,
    device: str = "cpu",
    metal: Medium | None = None,
    object_scatters: float = math.inf,
) -> Tally:
    """Counts and first interactions per decay, with their standard errors.

    Polarisation, electron range, Doppler broadening and air are neglected; so is what the collimator of one
    panel scatters back to the object or to another panel. Pair production counts as absorption.

    Args:
        camera: the camera; its response must be a ``CdTeResponse``.
        source: where decays happen.
        lines: photon lines of a decay.
        photons: number to emit, at least; rounded up to fill batches.
        seed: of all random numbers.
        body: the object; None for vacuum.
        energy_bins: of recorded energies; by default 20-600 keV in bins of 10 keV.
        regions: region that counts of each pixel are added to, [pixel]; by default each pixel is one.
        forced: variance reduction by weights and biased directions; False is analog sampling, for comparison.
        progress: called with the fraction done after each step.
        device: where to compute.
        metal: what the collimator is made of, such as its medium without coherent scatter; by default the
            camera's material.
        object_scatters: photons that the object scatters more often are dropped.

    Raises:
        UserError: no photons asked for, no line, another response, or regions that do not fit the camera.
    """
    if photons < 1:
        raise UserError(f"photons is {photons}; the Monte Carlo needs 1 or more")
    generator = torch.Generator(torch.device(device)).manual_seed(seed)
    simulation = Simulation(camera, source, lines, body, generator, forced, metal, object_scatters)
    bins = energy_bins or EnergyBins(20.0, 600.0, 58)
    of_pixel = _checked_regions(regions, camera).to(generator.device)
    scores = Scores(of_pixel, bins.count, len(simulation.energy_kev), BATCHES)
    positions = len(simulation.rotation_positions)
    share = math.ceil(photons / (BATCHES * positions))
    parts = math.ceil(share / _AT_ONCE)
    for done in range(BATCHES * positions * parts):
        batch, rest = divmod(done, positions * parts)
        position, part = divmod(rest, parts)
        simulation.follow(position, share // parts + (part < share % parts), bins, scores, batch)
        if progress:
            progress((done + 1) / (BATCHES * positions * parts))
    return scores.tally(float(lines.photons_per_decay.sum()), BATCHES * positions * share)


def _checked_regions(regions: Tensor | None, camera: Camera) -> Tensor:
    """Region of each pixel, [pixel] int64.

    Raises:
        UserError: they do not fit the camera.
    """
    if regions is None:
        return torch.arange(camera.pixel_count)
    if regions.shape != (camera.pixel_count,) or int(regions.min()) < 0:
        raise UserError(
            f"regions is {list(regions.shape)}; it needs one number of 0 or more for each of the"
            f" {camera.pixel_count} pixels"
        )
    return regions.to(torch.int64)
