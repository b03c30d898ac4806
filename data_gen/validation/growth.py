"""Scaling of computing times with problem size: exponents b of time ~ size^b, from wall-clock times in s.

Measured are the projection of unscattered photons through apertures (no detector response) and the expected
count rates at given events. The best of three runs counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import binned
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.forward_model.options import ModelOptions
from data_gen.validation.clock import best_s
from data_gen.validation.point import Array, Findings, Plot, Point
from data_gen.validation.warm import random_events, warm_model

_FIELD_MM = 28.0
"""Edge of the cube of voxels; chosen, no source."""
_ENERGY_BINS = 58
"""Energy bins over 20-600 keV, 10 keV each."""
_REFERENCE_ENERGIES = 6
"""Upper limit on the reference energies where they are not what is varied."""


def scaling(
    camera: str = "demo",
    nuclide: str = "Ra-223",
    voxels: Sequence[int] = (16, 24, 32),
    binning: Sequence[int] = (4, 2, 1),
    energies: Sequence[int] = (2, 4, 6),
    events: Sequence[int] = (10_000, 100_000, 1_000_000),
) -> Findings:
    """Exponents b of time ~ size^b: projection time of unscattered photons against the numbers of voxels,
    pixels and reference energies, and time of the expected count rates at given events against their number.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: numbers of voxels along each edge of a 28 mm cube.
        binning: numbers of pixels along each edge merged into one.
        energies: upper limits on the reference energies at which geometry is computed.
        events: numbers of events.
    """
    whole, first = load_camera(camera), voxels[0]
    model, activity, state = _unscattered(whole, nuclide, first)
    with torch.no_grad():
        series = {
            "voxels": [(n**3, _forward_s(*_unscattered(whole, nuclide, n))) for n in voxels],
            "pixels": [
                (whole.pixel_count // n**2, _forward_s(*_unscattered(binned(whole, n), nuclide, first)))
                for n in binning
            ],
            "energies": [_by_energies(*_unscattered(whole, nuclide, first, n)) for n in energies],
            "events": [(n, _record_s(model, activity, state, n)) for n in events],
        }
    points, curves = [], {}
    for name, pairs in series.items():
        size, seconds = np.array(sorted(pairs), dtype=np.float64).T
        points.append(_exponent(name, size, seconds, camera))
        curves[name] = (size / size[0], seconds / seconds[0])
    axes = ("size over the smallest", "time over the smallest")
    caption = f"Growth of times with sizes, {camera}, {nuclide}."
    return Findings(points, [Plot("scaling", caption, *axes, curves, ("log", "log"))])


def _unscattered(
    camera: Camera, nuclide: str, voxels: int, reference_energies: int = _REFERENCE_ENERGIES
) -> tuple[HyperspectralForwardModel, Tensor, ObjectState]:
    """A forward model without leakage and scatter, with the activity and object state of a cylinder."""
    grid, options = VoxelGrid([voxels] * 3, _FIELD_MM / voxels), ModelOptions(reference_energies, ())
    return warm_model(camera, nuclide, grid, _ENERGY_BINS, options)


def _forward_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> float:
    """Time in s from activity to first interactions by pixel and reference energy."""
    return best_s(lambda: model.projector.forward(activity, state.sharp))


def _by_energies(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> tuple[int, float]:
    """Number of reference energies that the model has, and the projection time in s."""
    return len(model.reference_kev), _forward_s(model, activity, state)


def _record_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, events: int) -> float:
    """Time in s of the expected count rates at given events, first interactions being known."""
    interactions = model.projector.forward(activity, state.sharp)[0]
    pixel, energy = random_events(model, events)
    return best_s(lambda: model.recording.record_at(interactions, pixel, energy))


def _exponent(name: str, size: Array, seconds: Array, camera: str) -> Point:
    """Exponent b of time ~ size^b: least squares slope of log time against log size."""
    slope = float(np.polyfit(np.log(size), np.log(seconds), 1)[0])
    table = ", ".join(f"{n:g}: {1e3 * s:.3g} ms" for n, s in zip(size, seconds, strict=True))
    return Point(f"exponent_{name}", slope, None, "reported", "this run", f"{camera}; {table}")
