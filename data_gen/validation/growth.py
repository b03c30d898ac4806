"""Scaling of computing times with problem size."""

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


def scaling(
    camera: str = "demo",
    nuclide: str = "Ra-223",
    voxels: Sequence[int] = (16, 24, 32),
    binning: Sequence[int] = (4, 2, 1),
    energies: Sequence[int] = (2, 4, 6),
    events: Sequence[int] = (10_000, 100_000, 1_000_000),
) -> Findings:
    """How times of the straight model grow with voxels, pixels, reference energies and events, as exponents.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: along each axis of 28 mm.
        binning: pixels along an edge that are one.
        energies: most reference energies.
        events: numbers of events, for recording alone.
    """
    whole, first = load_camera(camera), voxels[0]
    model, activity, state = _straight(whole, nuclide, first, 6)
    with torch.no_grad():
        series = {
            "voxels": [(n**3, _forward_s(*_straight(whole, nuclide, n, 6))) for n in voxels],
            "pixels": [
                (whole.pixel_count // n**2, _forward_s(*_straight(binned(whole, n), nuclide, first, 6)))
                for n in binning
            ],
            "energies": [_by_energies(*_straight(whole, nuclide, first, n)) for n in energies],
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


def _straight(
    camera: Camera, nuclide: str, voxels: int, groups: int
) -> tuple[HyperspectralForwardModel, Tensor, ObjectState]:
    """A model of what comes through apertures alone."""
    return warm_model(camera, nuclide, VoxelGrid([voxels] * 3, 28.0 / voxels), 58, ModelOptions(groups, ()))


def _forward_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> float:
    return best_s(lambda: model.projector.forward(activity, state.sharp))


def _by_energies(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> tuple[int, float]:
    """Reference energies that there are, and the time."""
    return len(model.reference_kev), _forward_s(model, activity, state)


def _record_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, events: int) -> float:
    seen = model.projector.forward(activity, state.sharp)[0]
    pixel, energy = random_events(model, events)
    return best_s(lambda: model.recording.record_at(seen, pixel, energy))


def _exponent(name: str, size: Array, seconds: Array, camera: str) -> Point:
    """Slope of log time over log size."""
    slope = float(np.polyfit(np.log(size), np.log(seconds), 1)[0])
    table = ", ".join(f"{n:g}: {1e3 * s:.3g} ms" for n, s in zip(size, seconds, strict=True))
    return Point(f"exponent_{name}", slope, None, "reported", "this run", f"{camera}; {table}")
