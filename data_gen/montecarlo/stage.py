"""One run's camera, object and chance: photons go in, scores come out."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, bin_index
from data_gen.detector import CdTeResponse
from data_gen.montecarlo.aim import emitted
from data_gen.montecarlo.aim_camera import CameraAim
from data_gen.montecarlo.body import Body, Tissues
from data_gen.montecarlo.chance import Analog, Chance, Forced
from data_gen.montecarlo.heads import Head, heads, owning_panel
from data_gen.montecarlo.lines import EmissionLines, drawn_lines
from data_gen.montecarlo.medium import medium
from data_gen.montecarlo.panel import stops
from data_gen.montecarlo.photons import OPEN, Photons
from data_gen.montecarlo.source import Source
from data_gen.montecarlo.tally import Book
from data_gen.montecarlo.transport import through_body

_ANYWHERE, _ANYWHERE_IN_BODY = 0.15, 0.3
"""Share of photons emitted in all directions where the rest is aimed; of more use where they can scatter."""
_ROULETTE = 0.2
"""Weight, over what an average photon is worth, below which photons are given up by chance."""


class Stage:
    """Everything of a run that stays the same.

    Args:
        camera: the camera.
        source: where decays happen.
        lines: what they emit.
        body: the object, if there is one.
        generator: of all random numbers; its device is where everything is computed.
        forced: aim photons and give them weights.

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
    ) -> None:
        response, device = camera.response, generator.device
        if not isinstance(response, CdTeResponse):
            raise UserError(
                f"camera {camera.name}: the response is no CdTe crystal; the Monte Carlo records kind cdte"
            )
        self.source, self.generator = source, generator
        self.energy_kev, self.rising = drawn_lines(lines, device)
        self.metal = medium(camera.collimator_material)
        self.stops = stops(camera, device)
        crystal = medium(camera.detector_material)
        self.heads = [heads(panels, self.metal, crystal, response) for panels in self.stops]
        self.tissues = Tissues(body, device) if body else None
        self.aims = [CameraAim(panels, self.metal) for panels in self.stops]
        least = _ROULETTE * self.aims[0].importance(self.energy_kev)
        self.chance: Chance = Forced(generator, least) if forced else Analog(generator)

    def play(self, stop: int, count: int, bins: EnergyAxis, book: Book, batch: int) -> None:
        """Follow ``count`` photons while the camera is at one stop, and book what they do."""
        photons = self._emit(stop, count)
        if self.tissues:
            photons = through_body(photons, self.tissues, self.aims[stop], self.chance)
        owner = owning_panel(self.stops[stop], photons)
        for head in self.heads[stop]:
            arrived = head.collimator.pass_through(head.local(photons, owner), self.chance)
            interacting = head.crystal.first_interactions(arrived, self.chance)
            self._book_interactions(head, interacting, bins, book, batch)
            self._book_hits(head, interacting, bins, book, batch)

    def _emit(self, stop: int, count: int) -> Photons:
        """Photons at their emission."""
        random = torch.rand(count, generator=self.generator, dtype=torch.float64, device=self.rising.device)
        line = torch.searchsorted(self.rising, random, right=True).clamp_max(len(self.rising) - 1)
        place, energy = self.source.draw(count, self.generator), self.energy_kev[line]
        anywhere = self.chance.analog_share(1 - (_ANYWHERE_IN_BODY if self.tissues else _ANYWHERE))
        way, weight = emitted(self.aims[stop], place, energy, anywhere, self.generator)
        history = torch.arange(count, device=line.device)
        kind, nowhere = torch.full_like(line, OPEN), torch.full_like(line, -1)
        return Photons(place, way, energy, weight, history, line, kind, nowhere)

    def _book_interactions(
        self, head: Head, photons: Photons, bins: EnergyAxis, book: Book, batch: int
    ) -> None:
        """Book first interactions, as while the camera always is at this stop."""
        weight = len(self.stops) * photons.weight
        region = book.regions[photons.first_pixel + head.crystal.panel.pixel(photons.place)]
        book.interactions.add((photons.kind, region, photons.line), photons.history, weight)
        book.totals[batch].index_put_((photons.kind, photons.line), weight, accumulate=True)
        _fill(book.arrivals[batch], bins, photons.kind, photons.energy_kev, weight)

    def _book_hits(self, head: Head, photons: Photons, bins: EnergyAxis, book: Book, batch: int) -> None:
        """Book what the electronics records of first interactions."""
        deposits = head.crystal.deposits(photons, self.generator)
        hits = head.charge.record(deposits, photons.place, self.generator)
        kind, weight = photons.kind[hits.event], photons.weight[hits.event]
        first, more = ~hits.linked, hits.linked
        _fill(book.spectrum[batch], bins, kind[first], hits.energy_kev[first], weight[first])
        _fill(book.linked[batch], bins, kind[more], hits.energy_kev[more], weight[more])
        place = bin_index(bins, hits.energy_kev)
        counted = ((place >= 0) & first).nonzero()[:, 0]
        event = hits.event[counted]
        region = book.regions[photons.first_pixel[event] + hits.pixel[counted]]
        where = (kind[counted], region, place[counted])
        book.counts.add(where, photons.history[event], weight[counted])


def _fill(book: Tensor, bins: EnergyAxis, kind: Tensor, energy_kev: Tensor, weight: Tensor) -> None:
    """Add weights to [class, bin]."""
    place = bin_index(bins, energy_kev)
    kept = place >= 0
    book.index_put_((kind[kept], place[kept]), weight[kept], accumulate=True)
