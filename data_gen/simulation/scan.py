"""Simulation of one scan: from a phantom to recorded events (pixel, keV, s).

Steps: phantom, exposure (Bq, s), expected counts by the forward model, Poisson events, readout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from data_gen.core.events import Frame
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import PhantomFamily, checked_labels
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
        activity = partial(phantom.mean_activity, self.model.chain, self.model.groups)
        with torch.no_grad():
            attenuation = self.model.attenuation(density)
            background = self.model.background_rate()
            rates: dict[Frame, Tensor] = {}

            def rate(frame: Frame) -> tuple[float, float]:
                rates[frame] = self.model.project(activity(1.0, frame)[None], attenuation)[0]
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
            activity=activity(exposure.injected_bq, frame),
            labels=checked_labels(phantom.labels, f"phantom of scan {number}"),
        )
