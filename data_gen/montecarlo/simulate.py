"""The referee of the forward model: photons followed one by one from decay to recorded event."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.detector import CdTeResponse
from data_gen.errors import UserError
from data_gen.grid import EnergyAxis, EnergyBins, bin_index
from data_gen.montecarlo.aim import CameraAim, emitted
from data_gen.montecarlo.body import Body, Tissues
from data_gen.montecarlo.chance import Analog, Chance, Forced
from data_gen.montecarlo.charge import ChargeModel
from data_gen.montecarlo.crystal import Crystal
from data_gen.montecarlo.medium import medium
from data_gen.montecarlo.panel import Panel, stops
from data_gen.montecarlo.photons import OPEN, Photons
from data_gen.montecarlo.source import Source
from data_gen.montecarlo.tally import Book, Tally
from data_gen.montecarlo.transport import Collimator, through_body

BATCHES = 20
_AT_ONCE = 50_000
_ANYWHERE = 0.15
"""Share of photons emitted in all directions where the rest is aimed."""
_ROULETTE = 0.2
"""Weight, over what an average photon is worth, below which photons are given up by chance."""


class EmissionLines(Protocol):
    """Photon lines: energy [line] in keV and photons per decay [line]; ``LineSpectrum`` is one."""

    @property
    def energy_kev(self) -> Tensor:
        """Energies in keV."""

    @property
    def photons_per_decay(self) -> Tensor:
        """Photons per decay."""


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
) -> Tally:
    """Counts and first interactions per decay, with their errors.

    Polarisation, electron range, Doppler broadening and flight through air are left out; so is what the
    collimator of one panel sends to the object or to another panel. Pair production absorbs.

    Args:
        camera: the camera; its response must be a ``CdTeResponse``.
        source: where decays happen.
        lines: what a decay emits.
        photons: to emit, at least; rounded up to fill batches.
        seed: of all random numbers.
        body: the object; None for none.
        energy_bins: of recorded energies; 20-600 keV in 10 keV bins unless given.
        regions: region [pixel] that counts of each pixel are added to; each by itself unless given.
        forced: photons carry weights and are aimed at what counts; False follows nature, for comparison.
        progress: told the share that is done after each step.
        device: where to compute.

    Raises:
        UserError: no photons asked for, no line, another response, or regions that do not fit the camera.
    """
    place = torch.device(device)
    stage = _Stage(camera, lines, body, forced, torch.Generator(place).manual_seed(seed))
    bins = energy_bins or EnergyBins(20.0, 600.0, 58)
    if photons < 1:
        raise UserError(f"photons is {photons}; the Monte Carlo needs 1 or more")
    book = Book(_regions(regions, camera).to(place), bins.count, len(stage.energy_kev), BATCHES)
    share = math.ceil(photons / (BATCHES * len(stage.stops)))
    parts = math.ceil(share / _AT_ONCE)
    steps, done = BATCHES * len(stage.stops) * parts, 0
    for batch in range(BATCHES):
        for stop in range(len(stage.stops)):
            for part in range(parts):
                count = share // parts + (part < share % parts)
                stage.play(stop, source, count, bins, book, batch)
                done += 1
                if progress:
                    progress(done / steps)
    return book.tally(float(lines.photons_per_decay.sum()), BATCHES * len(stage.stops) * share)


class _Stage:
    """Everything of a run that stays the same: stops, materials, chance."""

    def __init__(
        self,
        camera: Camera,
        lines: EmissionLines,
        body: Body | None,
        forced: bool,
        generator: torch.Generator,
    ) -> None:
        response, device = camera.response, generator.device
        if not isinstance(response, CdTeResponse):
            raise UserError(
                f"camera {camera.name}: the response is no CdTe crystal; the Monte Carlo records kind cdte"
            )
        self.generator, self.response = generator, response
        self.stops = stops(camera, device)
        self.metal = medium(camera.collimator_material)
        self.crystal = medium(camera.detector_material)
        self.tissues = Tissues(body, device) if body else None
        self.energy_kev = lines.energy_kev.to(device, torch.float64)
        strength = lines.photons_per_decay.to(device, torch.float64)
        if not len(strength) or float(strength.min()) < 0 or float(strength.sum()) <= 0:
            raise UserError("lines.photons_per_decay must be positive for one line or more; it is not")
        self.rising = strength.cumsum(0) / strength.sum()
        self.aims = [CameraAim(panels, self.metal) for panels in self.stops]
        least = _ROULETTE * self.aims[0].importance(self.energy_kev)
        self.chance: Chance = Forced(generator, least) if forced else Analog(generator)
        self.anywhere = self.chance.analog_share(1 - _ANYWHERE)

    def play(self, stop: int, source: Source, count: int, bins: EnergyAxis, book: Book, batch: int) -> None:
        """Follow ``count`` photons while the camera is at one stop, and book what they do."""
        photons = self._emit(stop, source, count)
        if self.tissues:
            photons = through_body(photons, self.tissues, self.aims[stop], self.chance)
        panels = self.stops[stop]
        owner = _owner(panels, photons)
        for index, panel in enumerate(panels):
            here = panel.local(photons.take(owner == index))
            arrived = Collimator(panel, self.metal).pass_through(here, self.chance)
            self._detect(panel, arrived, bins, book, batch)

    def _emit(self, stop: int, source: Source, count: int) -> Photons:
        """Photons at their emission."""
        random = torch.rand(count, generator=self.generator, dtype=torch.float64, device=self.rising.device)
        line = torch.searchsorted(self.rising, random, right=True).clamp_max(len(self.rising) - 1)
        place, energy = source.draw(count, self.generator), self.energy_kev[line]
        way, weight = emitted(self.aims[stop], place, energy, self.anywhere, self.generator)
        history = torch.arange(count, device=line.device)
        return Photons(place, way, energy, weight, history, line, torch.full_like(line, OPEN))

    def _detect(self, panel: Panel, photons: Photons, bins: EnergyAxis, book: Book, batch: int) -> None:
        """Let the crystal of a panel see photons on its face, and book them."""
        crystal = Crystal(panel, self.crystal, float(torch.as_tensor(self.response.thickness_mm)))
        photons = crystal.first_interactions(photons, self.chance)
        turns = len(self.stops)
        region = book.regions[panel.pixel(photons.place)]
        history, kind, weight = photons.history, photons.kind, photons.weight
        book.interactions.add((kind, region, photons.line), history, turns * weight)
        book.totals[batch].index_put_((kind, photons.line), turns * weight, accumulate=True)
        _fill(book.arrivals[batch], bins, kind, photons.energy_kev, turns * weight)
        deposits = crystal.deposits(photons, self.generator)
        hits = ChargeModel(self.response, panel).record(deposits, self.generator)
        kind, weight, history = kind[hits.event], weight[hits.event], history[hits.event]
        energy_bin = bin_index(bins, hits.energy_kev)
        counted = ((energy_bin >= 0) & ~hits.linked).nonzero()[:, 0]
        region = book.regions[panel.first_pixel + hits.pixel[counted]]
        where = (kind[counted], region, energy_bin[counted])
        book.counts.add(where, history[counted], weight[counted])
        book.spectrum[batch].index_put_(
            (kind[counted], energy_bin[counted]), weight[counted], accumulate=True
        )
        more = hits.linked
        _fill(book.linked[batch], bins, kind[more], hits.energy_kev[more], weight[more])


def _owner(panels: list[Panel], photons: Photons) -> Tensor:
    """Panel whose detector each ray meets, or else whose plate it comes to first; -1 for none."""
    owner = torch.full_like(photons.line, -1)
    nearest = torch.full_like(photons.weight, torch.inf)
    for index, panel in enumerate(panels):
        local = panel.local(photons)
        outwards = local.way[:, 2] > 1e-9
        run = (panel.plane_mm - panel.half_plate_mm - local.place[:, 2]) / local.way[:, 2].clamp_min(1e-9)
        run = torch.where(panel.meets_detector(local.place, local.way), -torch.inf, run.clamp_min(0))
        closer = outwards & (run < nearest)
        owner, nearest = torch.where(closer, index, owner), torch.where(closer, run, nearest)
    return owner


def _fill(book: Tensor, bins: EnergyAxis, kind: Tensor, energy_kev: Tensor, weight: Tensor) -> None:
    """Add weights to [class, bin]."""
    index = bin_index(bins, energy_kev)
    kept = index >= 0
    book.index_put_((kind[kept], index[kept]), weight[kept], accumulate=True)


def _regions(regions: Tensor | None, camera: Camera) -> Tensor:
    """Region of each pixel."""
    if regions is None:
        return torch.arange(camera.pixel_count)
    if regions.shape != (camera.pixel_count,) or int(regions.min()) < 0:
        raise UserError(
            f"regions is {list(regions.shape)}; it needs one number of 0 or more for each of the"
            f" {camera.pixel_count} pixels"
        )
    return regions.to(torch.int64)
