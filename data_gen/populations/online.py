"""A population whose individuals are drawn when they are asked for, in energy windows, never as events.

Individual i of a split follows from (seed, split, i) alone, as a stored scan does, and has anatomy i modulo
the number of anatomies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import EnergyWindows
from data_gen.core.random import seeded_generator
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import mean_activity
from data_gen.phantoms import RegionalFamily
from data_gen.populations.region_images import RegionImages
from data_gen.simulation.exposure import ExposureLimits

CODE_VERSION = 1
"""Raised whenever the images of anatomies or the scans drawn on them change."""


class DrawnScan(NamedTuple):
    """A scan as its counts, and its truth."""

    counts: Tensor
    """[pixel, window] float32."""
    frame: Frame
    injected_bq: float
    density: Tensor
    """[z, y, x] in g/cm3."""
    activity: Tensor
    """Mean over the frame, [map, z, y, x] in Bq per voxel."""
    labels: Tensor
    """Index into ``ORGANS``, [z, y, x] int64."""
    expected: Tensor
    """Noise-free expectation of the counts, [pixel, window]."""


@dataclass(frozen=True)
class OnlinePopulation:
    """Individuals without end on a number of anatomies.

    Args:
        system: the imaging system.
        windows: energy windows in which counts are drawn.
        family: draws anatomies, and individuals on them.
        limits: ranges of counts, activity and times of a scan.
        anatomies: number of anatomies.
        sites: places in each where a tumour may be.
        seed: random seed of the whole population.

    Raises:
        UserError: there is no anatomy.
    """

    system: ImagingSystem
    windows: EnergyWindows
    family: RegionalFamily
    limits: ExposureLimits
    anatomies: int
    sites: int
    seed: int = 0
    model: HyperspectralForwardModel = field(init=False)
    """Of the windows."""

    def __post_init__(self) -> None:
        if self.anatomies < 1:
            raise UserError(f"population.anatomies is {self.anatomies}; it needs at least 1")
        object.__setattr__(self, "model", self.system.forward_model(self.windows))

    @cached_property
    def _recorded(self) -> HyperspectralForwardModel:
        """The model of all recorded energies together."""
        bins = self.system.energy_bins
        return self.model.with_energy_bins(EnergyWindows([bins.min_kev, bins.max_kev]))

    def anatomy_of(self, number: int) -> int:
        """The anatomy of an individual."""
        return number % self.anatomies

    @torch.no_grad()
    def images(self, anatomy: int) -> RegionImages:
        """The images of an anatomy by its number, computed now: seconds."""
        generator = seeded_generator(self.seed, "anatomy", anatomy)
        body = self.family.anatomy(self.system.grid, self.sites, generator)
        return RegionImages.of(body, self.model, self._recorded)

    @torch.no_grad()
    def scan(self, split: str, number: int, images: RegionImages) -> DrawnScan:
        """The scan of an individual, from the images of its anatomy: milliseconds.

        Args:
            split: name of the split that it belongs to.
            number: which individual.
            images: of anatomy :meth:`anatomy_of`.
        """
        generator = seeded_generator(self.seed, split, number)
        individual = self.family.individual(images.anatomy, generator)
        background = self.model.background_rate()
        recorded_background = float(self._recorded.background_rate().sum())

        def concentrations(frame: Frame) -> Tensor:
            mean = mean_activity(self.system.chain, 1.0, frame.start_s, frame.end_s)
            return individual.concentrations([mean[head] for head in self.system.groups.heads])

        def rate(frame: Frame) -> tuple[float, float]:
            return float((concentrations(frame) * images.recorded).sum()), recorded_background

        exposure = self.limits.draw(rate, generator)
        per_ml = exposure.injected_bq * concentrations(exposure.frame)
        expected = exposure.frame.duration_s * (images.rate(per_ml) + background)
        volume = images.anatomy.volume_ml
        return DrawnScan(
            counts=torch.poisson(expected, generator=generator),
            frame=exposure.frame,
            injected_bq=exposure.injected_bq,
            density=images.anatomy.density,
            activity=torch.einsum("mr,rzyx->mzyx", per_ml, volume).float(),
            labels=individual.labels,
            expected=expected,
        )
