"""Simulation of one scan: phantom, exposure, expected counts, Poisson events, readout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.core.events import Frame
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.nuclides import mean_activity
from data_gen.phantoms import Phantom, PhantomFamily
from data_gen.readout import CameraReadout
from data_gen.simulation.exposure import ExposureLimits
from data_gen.simulation.photopeak import Windows, count_photopeak
from data_gen.storage import StoredScan


@dataclass(frozen=True)
class ScanSimulator:
    """Everything that the scans of a data set share."""

    model: HyperspectralForwardModel
    phantom: PhantomFamily
    limits: ExposureLimits
    photopeak: Windows
    readout: CameraReadout

    def scan(self, number: int, generator: torch.Generator) -> StoredScan:
        """A scan of a new individual; everything random in it comes from the generator."""
        phantom = self.phantom(self.model.grid, generator)
        density = phantom.density[None]
        with torch.no_grad():
            attenuation = self.model.attenuation(density)
            background = self.model.background_rate()
            rates: dict[Frame, Tensor] = {}

            def rate(frame: Frame) -> tuple[float, float]:
                rates[frame] = self.model.project(self._activity(phantom, 1.0, frame)[None], attenuation)[0]
                return float(rates[frame].sum()), float(background.sum())

            exposure = self.limits.draw(rate, generator)
            frame = exposure.frame
            if frame not in rates:
                rate(frame)
            expected = frame.duration_s * (exposure.injected_bq * rates[frame] + background)
        photons = events_from_counts(
            draw_counts(expected, generator), self.model.energy_bins, (frame,), generator
        )
        events = self.readout.record(photons, (frame,), generator)
        return StoredScan(
            number=number,
            events=events,
            frames=(frame,),
            injected_bq=exposure.injected_bq,
            body_mass_g=phantom.body_mass_g,
            counts_photopeak=count_photopeak(events, self.photopeak),
            density=phantom.density,
            activity=self._activity(phantom, exposure.injected_bq, frame),
            labels=phantom.labels,
        )

    def _activity(self, phantom: Phantom, injected_bq: float, frame: Frame) -> Tensor:
        """Mean over the frame of the activity of each group's head, [map, z, y, x] in Bq per voxel."""
        mean = mean_activity(self.model.chain, injected_bq, frame.start_s, frame.end_s)
        return phantom.activity([mean[head] for head in self.model.groups.heads])
