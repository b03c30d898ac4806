"""Simulation of one scan: from a phantom to recorded events (pixel, keV, s).

Steps: phantom, exposure (Bq, s), expected counts by the forward model, Poisson events, readout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from data_gen.core.events import Frame
from data_gen.forward_model.event_sampling import RateAt, draw_counts, events_from_counts, steps_of
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.phantoms import PhantomFamily, checked_labels
from data_gen.readout import CameraReadout
from data_gen.simulation.exposure import Exposure, ExposureLimits
from data_gen.simulation.photopeak import Windows, count_photopeak
from data_gen.storage import StoredScan

MeanActivity = Callable[[float, Frame], Tensor]
"""Injected activity in Bq and frame to the mean activity over it, [map, z, y, x] in Bq per voxel."""

END_SHARE = 1e-3
"""Share of a frame at each of its ends whose mean activity stands for that at the end."""


@dataclass(frozen=True)
class ScanSimulator:
    """Everything that the scans of a data set share."""

    model: HyperspectralForwardModel
    phantom: PhantomFamily
    limits: ExposureLimits
    photopeak: Windows
    readout: CameraReadout

    def scan(self, number: int, generator: torch.Generator) -> StoredScan:
        """A scan of a new individual; everything random in it comes from the generator.

        Counts are drawn from the mean activity over the frame, and their times follow it within the frame.
        """
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
                draw_counts(expected, generator),
                self.model.energy_bins,
                steps_of(frame, change_over(frame, activity)),
                generator,
                self._rate_at(activity, attenuation, exposure),
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

    def _rate_at(self, activity: MeanActivity, attenuation: ObjectState, exposure: Exposure) -> RateAt:
        """Expected rates within the frame of an exposure."""
        background = self.model.background_rate()

        def rate_at(step: Frame, pixel: Tensor, energy_bin: Tensor) -> Tensor:
            now = activity(exposure.injected_bq, step)[None]
            rate = self.model.project_at(now, attenuation, pixel, energy_bin)
            return rate + background[pixel, energy_bin]

        return rate_at


def change_over(frame: Frame, activity: MeanActivity) -> float:
    """How much activity changes over a frame: the logarithm of a ratio, voxel by voxel and map by map.

    A decay from a to b gives log(a / b); activity that only moves counts too.
    """
    end_s = END_SHARE * frame.duration_s
    first, last = (
        activity(1.0, Frame(start_s, end_s)).double() for start_s in (frame.start_s, frame.end_s - end_s)
    )
    least = min(float(first.sum()), float(last.sum()))
    return math.log1p(float((last - first).abs().sum()) / max(least, 1e-300))
