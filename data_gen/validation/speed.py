"""Cost of a forward projection, as ratios of wall-clock times (s) measured in one run.

References are times that no implementation can avoid: copying the system matrix, and the matrix products
alone. Tolerances are design targets.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from data_gen.camera import load_camera
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState
from data_gen.projector import MatrixProjector
from data_gen.validation.clock import best_s, copy_s, peak_gb
from data_gen.validation.point import Findings, Point
from data_gen.validation.warm import random_events, warm_model

_TARGET = "design target"


def speed(
    camera: str = "alpha_spect_mini",
    nuclide: str = "Ra-223",
    voxels: int = 64,
    spacing_mm: float = 0.5,
    bins: int = 512,
    events: int = 100_000,
    repeats: int = 3,
) -> Findings:
    """Times of one reference energy, of all energy bins and of given events, with object attenuation; the
    time of an iteration of OSEM is reported.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: number of voxels along each axis.
        spacing_mm: edge of a voxel.
        bins: number of energy bins over 20-600 keV.
        events: number of events, at random pixels and energy bins.
        repeats: number of repetitions of each time; the shortest counts.
    """
    model, activity, state = warm_model(
        load_camera(camera), nuclide, VoxelGrid([voxels] * 3, spacing_mm), bins
    )
    note = f"{camera}, {nuclide}, {voxels}^3, {bins} bins, {torch.get_num_threads()} thread(s)"
    with torch.no_grad():
        return Findings(
            [
                *_one_line(model, activity[:, :1], state, note, repeats),
                *_whole(model, activity, state, events, note, repeats),
                *_iteration(model, activity, state, events, note),
            ]
        )


def _one_line(
    model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, note: str, repeats: int
) -> list[Point]:
    """Projection at the first energy compared with copying its matrix, once per mirror image."""
    projector = MatrixProjector(model.camera, model.grid, model.reference_kev[:1])
    kept = state.sharp[:, :1]
    blocks: Any = projector.matrices[0]
    stored = sum(block.bytes for block in blocks)
    copied = copy_s(stored * projector.views.columns)
    seen = projector.forward(activity, kept)
    forward = best_s(lambda: projector.forward(activity, kept), repeats)
    adjoint = best_s(lambda: projector.adjoint(seen, kept), repeats)
    size = f"{note}; {stored * projector.views.columns / 1e6:.0f} MB in {1e3 * copied:.0f} ms"
    return [
        Point("one_line_forward", forward / copied, 3.0, "copying the matrix's bytes", _TARGET, size),
        Point("one_line_adjoint", adjoint / copied, 3.0, "copying the matrix's bytes", _TARGET, size),
    ]


def _whole(
    model: HyperspectralForwardModel,
    activity: Tensor,
    state: ObjectState,
    events: int,
    note: str,
    repeats: int,
) -> list[Point]:
    """All lines into all bins, and at events alone, compared with the matrix products involved."""
    seen = model.projector.forward(activity, state.sharp)
    primary = best_s(lambda: model.projector.forward(activity, state.sharp), repeats)
    others = best_s(lambda: _block_products(model, activity, state), repeats)
    products = primary + others
    flat = seen[0].flatten(1)
    table = torch.rand(flat.shape[1], model.energy_bins.count)
    out = torch.empty(len(flat), model.energy_bins.count)
    to_bins = best_s(lambda: torch.mm(flat, table, out=out), repeats)
    spectrum = best_s(lambda: model.project(activity, state), repeats)
    pixel, energy = random_events(model, events)
    at_events = best_s(lambda: model.project_at(activity, state, pixel, energy), repeats)
    times = f"{note}; primary {primary:.2g} s, leakage and scatter {others:.2g} s, to bins {to_bins:.2g} s"
    least = "products of energy groups and of scatter, group-to-bin product and write"
    return [
        Point("whole_spectrum", spectrum / (products + to_bins), 1.3, least, _TARGET, times),
        Point(
            "events_only", at_events / products, 1.1, "groups' products", _TARGET, f"{times}, {events} events"
        ),
    ]


def _block_products(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> list[Tensor]:
    """First interactions by leakage and scatter."""
    pairs = zip(model.scatter_terms, state.blocks, strict=True)
    return [term.forward(activity, kept) for term, kept in pairs]


def _iteration(
    model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, events: int, note: str
) -> list[Point]:
    """One iteration of list-mode MLEM with attenuation, as long as an iteration of OSEM over all subsets."""
    pixel, energy = random_events(model, events)
    began = time.perf_counter()
    sensitivity = model.sensitivity(state)
    once = time.perf_counter() - began
    began = time.perf_counter()
    rate = model.project_at(activity, state, pixel, energy).clamp_min(1e-30)
    activity * model.back_project_at(1 / rate, state, pixel, energy) / sensitivity.clamp_min(1e-30)
    seconds = time.perf_counter() - began
    told = f"{note}, {events} events; sensitivity once in {once:.3g} s"
    return [
        Point("iteration_seconds", seconds, None, "reported", "this run", told, "s"),
        Point("memory", peak_gb(), None, "reported", "this run", "most held by the process so far", "GB"),
    ]
