"""What a forward projection costs, as ratios of times measured in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.camera.binning import binned
from data_gen.forward import HyperspectralForwardModel, ObjectState
from data_gen.grid import EnergyBins, EnergyWindows, VoxelGrid
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.projector import MatrixProjector
from data_gen.secondary import SECONDARY, Secondary
from hspi_learn.benchmark.physics.clock import best_s, copy_s, peak_gb
from hspi_learn.benchmark.point import Array, Found, Plot, Point

_HOUSE = "the house's plan"


def speed(
    camera: str = "alpha_spect_mini",
    nuclide: str = "Ra-223",
    voxels: int = 64,
    spacing_mm: float = 0.5,
    bins: int = 512,
    events: int = 100_000,
    repeats: int = 3,
) -> Found:
    """One line, the whole spectrum and events alone, with attenuation; an iteration of OSEM is reported.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: along each axis.
        spacing_mm: their edge.
        bins: of energy.
        events: at random pixels and bins.
        repeats: of each time; the shortest counts.
    """
    model, activity, state = _scene(load_camera(camera), nuclide, VoxelGrid([voxels] * 3, spacing_mm), bins)
    note = f"{camera}, {nuclide}, {voxels}^3, {bins} bins, {torch.get_num_threads()} thread(s)"
    with torch.no_grad():
        return Found(
            [
                *_one_line(model, activity[:, :1], state, note, repeats),
                *_whole(model, activity, state, events, note, repeats),
                *_iteration(model, activity, state, events, note),
            ]
        )


def _scene(
    camera: Camera,
    nuclide: str,
    grid: VoxelGrid,
    bins: int,
    groups: int = 8,
    secondary: Sequence[Secondary] = SECONDARY,
) -> tuple[HyperspectralForwardModel, Tensor, ObjectState]:
    """The model, warm activity of all maps in a cylinder, and what is kept of its density."""
    chain = decay_chain(nuclide)
    model = HyperspectralForwardModel(
        camera,
        chain,
        grid,
        EnergyBins(20.0, 600.0, bins),
        groups=tied_groups(chain),
        most_energy_groups=groups,
        secondary=secondary,
    )
    place, reach = grid.centres_mm(), 0.4 * min(grid.extent_mm)
    body = (place[..., :2].norm(dim=-1) < reach).float()
    with torch.no_grad():
        state = model.attenuation(1.05 * body[None])
    return model, body.expand(1, len(model.groups.names), *grid.shape).contiguous(), state


def _one_line(
    model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, note: str, repeats: int
) -> list[Point]:
    """The first energy's product against copying its matrix, every mirror image of it."""
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
        Point("one_line_forward", forward / copied, 3.0, "copying the matrix's bytes", _HOUSE, size),
        Point("one_line_adjoint", adjoint / copied, 3.0, "copying the matrix's bytes", _HOUSE, size),
    ]


def _whole(
    model: HyperspectralForwardModel,
    activity: Tensor,
    state: ObjectState,
    events: int,
    note: str,
    repeats: int,
) -> list[Point]:
    """All lines into all bins, and at events alone, against the products that they cannot do without."""
    seen = model.projector.forward(activity, state.sharp)
    primary = best_s(lambda: model.projector.forward(activity, state.sharp), repeats)
    others = best_s(lambda: _block_products(model, activity, state), repeats)
    products = primary + others
    flat = seen[0].flatten(1)
    table = torch.rand(flat.shape[1], model.energy_bins.count)
    out = torch.empty(len(flat), model.energy_bins.count)
    to_bins = best_s(lambda: torch.mm(flat, table, out=out), repeats)
    spectrum = best_s(lambda: model.project(activity, state), repeats)
    pixel, energy = _events(model, events)
    at_events = best_s(lambda: model.project_at(activity, state, pixel, energy), repeats)
    times = f"{note}; primary {primary:.2g} s, leakage and scatter {others:.2g} s, to bins {to_bins:.2g} s"
    least = "products of energy groups and of scatter, group-to-bin product and write"
    return [
        Point("whole_spectrum", spectrum / (products + to_bins), 1.3, least, _HOUSE, times),
        Point(
            "events_only", at_events / products, 1.1, "groups' products", _HOUSE, f"{times}, {events} events"
        ),
    ]


def _block_products(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> list[Tensor]:
    """First interactions by leakage and scatter."""
    pairs = zip(model.secondary, state.blocks, strict=True)
    return [part.term.forward(activity, kept) for part, kept in pairs]


def _iteration(
    model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, events: int, note: str
) -> list[Point]:
    """One iteration of list-mode MLEM with attenuation, which is what an iteration of OSEM costs in all."""
    pixel, energy = _events(model, events)
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


def _events(model: HyperspectralForwardModel, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixel = torch.randint(model.pixels, (count,), generator=generator)
    return pixel, torch.randint(model.energy_bins.count, (count,), generator=generator)


def grouping(
    camera: str = "demo", nuclide: str = "Ra-223", voxels: int = 16, groups: int = 8, many: int = 24
) -> Found:
    """What lines lose by borrowing from a few energies: every window of the whole camera, 1 %.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: along each axis of 28 mm.
        groups: energies, as models have.
        many: energies that stand for all.
    """
    windows = EnergyWindows([20, 60, 100, 180, 250, 320, 380, 480, 600])
    totals = []
    for count in (groups, many):
        model, activity, state = _scene(
            load_camera(camera), nuclide, VoxelGrid([voxels] * 3, 28.0 / voxels), 58, count
        )
        with torch.no_grad():
            totals.append(model.with_energy_bins(windows).project(activity, state).sum((0, 1)).double())
    few, every = totals
    edges = windows.edges_kev
    note = f"{camera}, {nuclide}, {groups} energies for {many}"
    return Found(
        [
            Point(
                f"window_{float(low):g}_{float(high):g}kev",
                abs(float(a / b) - 1),
                0.01,
                "the same with many reference energies",
                "refinement",
                note,
            )
            for low, high, a, b in zip(edges[:-1], edges[1:], few, every, strict=True)
        ]
    )


def scaling(
    camera: str = "demo",
    nuclide: str = "Ra-223",
    voxels: Sequence[int] = (16, 24, 32),
    binning: Sequence[int] = (4, 2, 1),
    energies: Sequence[int] = (2, 4, 6),
    events: Sequence[int] = (10_000, 100_000, 1_000_000),
) -> Found:
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
    return Found(points, [Plot("scaling", caption, *axes, curves, ("log", "log"))])


def _straight(
    camera: Camera, nuclide: str, voxels: int, groups: int
) -> tuple[HyperspectralForwardModel, Tensor, ObjectState]:
    """A model of what comes through apertures alone."""
    return _scene(camera, nuclide, VoxelGrid([voxels] * 3, 28.0 / voxels), 58, groups, ())


def _forward_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> float:
    return best_s(lambda: model.projector.forward(activity, state.sharp))


def _by_energies(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState) -> tuple[int, float]:
    """Reference energies that there are, and the time."""
    return len(model.reference_kev), _forward_s(model, activity, state)


def _record_s(model: HyperspectralForwardModel, activity: Tensor, state: ObjectState, events: int) -> float:
    seen = model.projector.forward(activity, state.sharp)[0]
    pixel, energy = _events(model, events)
    return best_s(lambda: model.recording.record_at(seen, pixel, energy))


def _exponent(name: str, size: Array, seconds: Array, camera: str) -> Point:
    """Slope of log time over log size."""
    slope = float(np.polyfit(np.log(size), np.log(seconds), 1)[0])
    table = ", ".join(f"{n:g}: {1e3 * s:.3g} ms" for n, s in zip(size, seconds, strict=True))
    return Point(f"exponent_{name}", slope, None, "reported", "this run", f"{camera}; {table}")
