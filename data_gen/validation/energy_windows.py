"""Precision and time by energy windows: Cramer-Rao bounds of organs' activities."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from data_gen.camera import load_camera
from data_gen.core.events import Frame
from data_gen.core.grid import EnergyAxis, EnergyBins, EnergyWindows, VoxelGrid
from data_gen.core.random import seeded_generator
from data_gen.design.information import fisher_information, relative_deviations
from data_gen.forward_model.line_windows import energy_windows
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from data_gen.phantoms import ORGANS, PhantomFamily, ScannedObject, family_for
from data_gen.validation.point import Findings, Point

EIGHT_KEV = (20.0, 60.0, 100.0, 180.0, 250.0, 320.0, 380.0, 480.0, 600.0)
"""Wide windows, in which lines of parent and daughters share windows."""

GAIN = 0.8
"""By this factor at least the bound of the daughter's activity falls with windows at the lines."""

HELD = ("tumour", "kidneys")
"""Organs whose daughter activity is held to it: kidneys gather it, tumours lose it."""

_FRAME = Frame(86_400.0, 1800.0)


def windows(
    phantom: PhantomFamily,
    options: ModelOptions,
    camera: str = "demo",
    nuclide: str = "Ra-223",
    voxels: int = 24,
    spacing_mm: float = 1.2,
    bins: int = 580,
    events: float = 23_000.0,
    mouse: int = 0,
) -> Findings:
    """Least relative SD of the activity of each organ and map, shapes known: windows at lines over eight.

    Args:
        phantom: who is scanned.
        options: options of the forward model.
        camera: name.
        nuclide: parent of the chain.
        voxels: number of voxels along each axis.
        spacing_mm: edge of a voxel.
        bins: number of bins of the fine energy axis from 20 to 600 keV.
        events: number of events of the scan, without background.
        mouse: number of the individual among the test scans of a data set of seed 0.
    """
    system = ImagingSystem(
        load_camera(camera),
        decay_chain(nuclide),
        VoxelGrid([voxels] * 3, spacing_mm),
        EnergyBins(20.0, 600.0, bins),
        options=options,
    )
    scanned = family_for(phantom, system.chain)(system.grid, seeded_generator(0, "test", mouse))
    at_lines = energy_windows("lines", system)
    fine = system.forward_model()
    axes: dict[str, EnergyAxis] = {
        "eight": EnergyWindows(EIGHT_KEV),
        "lines": at_lines,
        "bins": system.energy_bins,
    }
    bounds, seconds = {}, {}
    with torch.no_grad():
        state = fine.attenuation(scanned.density[None])
        for name, axis in axes.items():
            model = fine.with_energy_bins(axis)
            bounds[name] = _bounds(model, state, scanned, events)
            seconds[name] = _iteration_s(model, state)
    note = f"{camera}, {nuclide}, {events:g} events, {at_lines.count} windows"
    return Findings([*_precision(bounds, system.groups.names[-1], note), *_cost(seconds, note)])


def _bounds(
    model: HyperspectralForwardModel, state: ObjectState, scanned: ScannedObject, events: float
) -> dict[str, float]:
    """Relative Cramér-Rao deviation of each organ and map, by "organ/map"."""
    activity = scanned.mean_activity(model.chain, model.groups, 1.0, _FRAME)
    parts: dict[str, Tensor] = {}
    for label in torch.unique(scanned.labels).tolist():
        inside = scanned.labels == label
        for index, name in enumerate(model.groups.names):
            alone = torch.zeros_like(activity)
            alone[index] = activity[index] * inside
            if ORGANS[label] != "outside" and float(alone.sum()) > 0:
                parts[f"{ORGANS[label]}/{name}"] = model.project(alone[None], state)[0].flatten()
    counts = torch.stack(list(parts.values()))
    background = _FRAME.duration_s * model.background_rate().flatten()
    found = relative_deviations(fisher_information(events / counts.sum() * counts, background))
    return dict(zip(parts, found.tolist(), strict=True))


def _iteration_s(model: HyperspectralForwardModel, state: ObjectState) -> float:
    """CPU time of one MLEM iteration's projection and its transpose, in s: the shortest of five."""
    ones = torch.ones(1, len(model.groups.names), *model.grid.shape)
    times = []
    for _ in range(5):
        began = time.process_time()
        model.back_project(model.project(ones, state), state)
        times.append(time.process_time() - began)
    return min(times)


def _precision(bounds: Mapping[str, Mapping[str, float]], daughter: str, note: str) -> list[Point]:
    """The bound of each organ and map with windows at the lines over that with eight."""
    points = []
    for part, wide in bounds["eight"].items():
        organ, _, name = part.partition("/")
        told = f"{note}; SD {wide:.3f} with eight, {bounds['bins'][part]:.3f} with all bins"
        limit = GAIN if organ in HELD and name == daughter else None
        truth, source = "least SD with eight wide windows", "Cramér-Rao bound"
        points.append(Point(f"sd_{organ}_{name}", bounds["lines"][part] / wide, limit, truth, source, told))
    return points


def _cost(seconds: Mapping[str, float], note: str) -> list[Point]:
    """CPU time of an iteration with windows at the lines over that with eight."""
    told = f"{note}; {1e3 * seconds['eight']:.0f} ms with eight, {1e3 * seconds['bins']:.0f} ms with all bins"
    value = seconds["lines"] / seconds["eight"]
    return [Point("iteration_time", value, None, "an iteration with eight windows", "this run", told)]
