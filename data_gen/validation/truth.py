"""Recorded counts of a whole decay chain by Monte Carlo, cached on disk; independent of the forward model.

From a scene (activity, density), photon lines in keV and a camera: counts per s and their variance, by row of
pixels and energy bin. Source: ``data_gen.montecarlo``; the spectrum is simulated in strata of energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.cache import cache_folder, cached, content_key
from data_gen.core.grid import EnergyBins
from data_gen.materials import TISSUES, composition
from data_gen.montecarlo import Batches, Body, Lines, Tally, VoxelSource, simulate
from data_gen.nuclides.spectrum import LineSpectrum
from data_gen.validation.keys import code_hash
from data_gen.validation.objects import Scene

MC = "data_gen.montecarlo"
"""The package whose code determines the results."""

_PIECES = 8
"""Lines that represent each piece of a continuum; chosen, no source."""

_STRATA_KEV = (130.0, 200.0, 320.0, 600.0)
"""Boundaries of the strata of photon energy; chosen, no source."""
_PHOTONS = (0.12, 0.1, 0.28, 0.41, 0.09)
"""Fractions of the photons simulated in each stratum, by its contribution to the variance of the windows:
most photons are emitted below 130 keV, most that scatter into the windows start above 320 keV.
"""


@dataclass(frozen=True)
class Recorded:
    """Counts per second for the photons of some lines, with errors."""

    rows: Tensor
    """Counts per second by pixel row of all panels and energy bin, [row, bin]."""
    variance: Tensor
    """Variance of ``rows``, [row, bin]."""
    whole: Batches
    """Counts per second of the whole camera, [batch, bin]."""


def source_of(what: Scene) -> VoxelSource:
    """The scene's activity as a Monte Carlo source."""
    return VoxelSource(what.grid, what.activity)


def body_of(what: Scene) -> Body | None:
    """The scene's density as a Monte Carlo object."""
    return None if what.is_air else Body(what.grid, what.density)


def sampled_lines(lines: LineSpectrum, heads: Tensor) -> Lines:
    """Lines, and pieces of a continuum as several lines each, per Bq of every head.

    Args:
        lines: photon lines of the chain.
        heads: decays of a line's member per Bq of all heads, [line].
    """
    steps = (torch.arange(_PIECES, dtype=torch.float64) + 0.5) / _PIECES - 0.5
    energy = lines.energy_kev[:, None] + lines.width_kev[:, None] * steps
    strength = (lines.photons_per_decay * heads / _PIECES)[:, None].expand_as(energy)
    is_line = lines.width_kev == 0
    return Lines(
        torch.cat((lines.energy_kev[is_line], energy[~is_line].flatten())),
        torch.cat((strength[is_line].sum(1), strength[~is_line].flatten())),
    )


def recorded(
    camera: Camera, what: Scene, lines: Lines, axis: EnergyBins, photons: int, seed: int
) -> Recorded:
    """Counts that the camera records of a scene with these lines, from ``photons`` photons in all."""
    numbers = {
        "code": code_hash(MC),
        "camera": camera.spec.model_dump(mode="json"),
        "materials": camera.materials | {tissue: composition(tissue) for tissue in TISSUES},
        "grid": what.grid.to_dict(),
        "strata": [list(_STRATA_KEV), list(_PHOTONS)],
        "photons": [photons, seed],
    }
    tensors = {
        "activity": what.activity,
        "density": what.density,
        "energy": lines.energy_kev,
        "strength": lines.photons_per_decay,
        "edges": axis.edges_kev,
    }

    def make() -> dict[str, Tensor]:
        source, body, row = source_of(what), body_of(what), camera.pixel_row
        tallies = [
            simulate(camera, source, part, round(share * photons), 100 * seed + k, body, axis, row)
            for k, (part, share) in enumerate(_strata(lines))
        ]
        return _summed(tallies)

    kept = cached(cache_folder(), content_key(numbers, tensors), make)
    return Recorded(kept["rows"], kept["variance"], Batches(kept["whole"]))


def _strata(lines: Lines) -> list[tuple[Lines, float]]:
    """Lines of each stratum of the spectrum, and its fraction of the simulated photons."""
    part = torch.bucketize(lines.energy_kev, torch.tensor(_STRATA_KEV, dtype=torch.float64))
    lit = [k for k in range(len(_PHOTONS)) if float(lines.photons_per_decay[part == k].sum()) > 0]
    total = sum(_PHOTONS[k] for k in lit)
    return [
        (Lines(lines.energy_kev[part == k], lines.photons_per_decay[part == k]), _PHOTONS[k] / total)
        for k in lit
    ]


def _summed(tallies: list[Tally]) -> dict[str, Tensor]:
    """The fields of :class:`Recorded`, summed over strata and classes of photons."""
    return {
        "rows": torch.stack([tally.counts.mean.sum(0) for tally in tallies]).sum(0),
        "variance": torch.stack([tally.counts.variance.sum(0) for tally in tallies]).sum(0),
        "whole": torch.stack([tally.spectrum.values.sum(dim=1) for tally in tallies]).sum(0),
    }
