"""The referee of the forward model: photons followed one by one from decay to recorded event."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, EnergyBins
from data_gen.montecarlo.body import Body
from data_gen.montecarlo.lines import EmissionLines
from data_gen.montecarlo.source import Source
from data_gen.montecarlo.stage import Stage
from data_gen.montecarlo.tally import Book, Tally

BATCHES = 20
_AT_ONCE = 50_000
"""Photons followed together, which bounds the memory."""


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

    Polarisation, electron range, Doppler broadening and air are left out; so is what the collimator of one
    panel sends back to the object or to another panel. Pair production absorbs.

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
    if photons < 1:
        raise UserError(f"photons is {photons}; the Monte Carlo needs 1 or more")
    generator = torch.Generator(torch.device(device)).manual_seed(seed)
    stage = Stage(camera, source, lines, body, generator, forced)
    bins = energy_bins or EnergyBins(20.0, 600.0, 58)
    of_pixel = _checked_regions(regions, camera).to(generator.device)
    book = Book(of_pixel, bins.count, len(stage.energy_kev), BATCHES)
    stops = len(stage.stops)
    share = math.ceil(photons / (BATCHES * stops))
    parts = math.ceil(share / _AT_ONCE)
    for step in range(BATCHES * stops * parts):
        batch, stop, part = step // (stops * parts), step // parts % stops, step % parts
        stage.play(stop, share // parts + (part < share % parts), bins, book, batch)
        if progress:
            progress((step + 1) / (BATCHES * stops * parts))
    return book.tally(float(lines.photons_per_decay.sum()), BATCHES * stops * share)


def _checked_regions(regions: Tensor | None, camera: Camera) -> Tensor:
    """Region of each pixel.

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
