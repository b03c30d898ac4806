"""Check of an optimised design by Monte Carlo, which includes all scatter and shares no geometry code.

Input are a design problem and its result; output is the gain (ratio of summed relative Cramer-Rao deviations
before and after) by the forward model and by the Monte Carlo, with its standard error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.design.information import cross_information, relative_deviations
from data_gen.design.redesign import redesigned
from data_gen.design.study import Comparison, DesignProblem
from data_gen.forward_model.model import EMISSION_KEV
from data_gen.montecarlo import Body, Lines, VoxelSource, simulate
from data_gen.nuclides.spectrum import LineSpectrum

BLOCK_MM = 5.0
"""Edge of the blocks of pixels whose counts are compared: single pixels would have too few counts."""

REPEATS = 4
"""Independent runs of each uptake; the noise of products of different runs is zero on average."""


@dataclass(frozen=True)
class GainCheck:
    """Sum of the wanted relative deviations before over that after, from counts of blocks of pixels.

    The wanted region is estimated against all others as one: many regions would need many more photons.
    Unlike in the design itself, all photons carry information: scattered ones in the Monte Carlo, leakage in
    the model.
    """

    by_model: float
    by_monte_carlo: float
    error: float
    """Standard error of the Monte Carlo's gain (jackknife over runs)."""


def montecarlo_check(
    problem: DesignProblem,
    found: Comparison,
    photons: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> GainCheck:
    """Check the gain of the best design.

    Args:
        problem: the design problem.
        found: cameras before and after.
        photons: to emit for each uptake and camera.
        seed: random seed of the first run; the others follow.
        progress: called with a line when a part begins.
    """
    problem = replace(problem, task=problem.task.against_rest())
    ends = (
        (problem.camera.collimator_material, problem.start),
        (found.best.material, found.best.gradient.best.parameters),
    )
    model, runs = [], []
    for number, (material, parameters) in enumerate(ends):
        design = torch.tensor(parameters, dtype=torch.float64)
        camera = redesigned(problem.camera, design[0], design[1], material)
        block = pixel_blocks(camera, BLOCK_MM)
        progress(f"Monte Carlo: {('before', 'after')[number]}")
        runs.append(simulated_parts(problem, camera, block, photons, seed + 1000 * number))
        with torch.no_grad():
            one, two, leaked = problem.objective(material).counts(design)
            model.append([_in_blocks(seen + leaked, block) for seen in (one, two)])
    background = _background(problem)
    wanted = problem.task.wanted_parts
    informed = [cross_information(counts, background) for counts in model]
    by_model = [float(relative_deviations(information)[wanted].sum()) for information in informed]
    gains = [_gain(runs, background, wanted, left_out) for left_out in (None, *range(REPEATS))]
    spread = torch.tensor(gains[1:]).std(correction=0)
    return GainCheck(by_model[0] / by_model[1], gains[0], math.sqrt(REPEATS - 1) * float(spread))


def simulated_parts(problem: DesignProblem, camera: Camera, block: Tensor, photons: int, seed: int) -> Tensor:
    """Expected counts of every part of the task by Monte Carlo, [repeat, part, block x bin]."""
    task, body = problem.task, Body(problem.grid, problem.task.density)
    lines = [_lines(problem, index) for index in range(len(task.maps))]
    each = math.ceil(photons / REPEATS)
    runs = itertools.product(range(REPEATS), range(len(task.regions)), range(len(task.maps)))
    parts: list[Tensor] = []
    for number, (_, region, index) in enumerate(runs, start=seed):
        source = VoxelSource(problem.grid, task.shape[region])
        tally = simulate(camera, source, lines[index], each, number, body, problem.windows, block)
        decays = task.duration_s * float(task.activity_bq[region, index])
        parts.append(decays * tally.counts.mean.sum(0).flatten())
    return torch.stack(parts).reshape(REPEATS, len(task.parts), -1)


def _lines(problem: DesignProblem, index: int) -> Lines:
    """Photon lines per decay of the head of a map's group, members of the group included."""
    spectrum = LineSpectrum.of(problem.chain, *EMISSION_KEV)
    strength = spectrum.photons_per_decay * problem.groups.weights[spectrum.member, index]
    emitted = strength > 0
    return Lines(spectrum.energy_kev[emitted], strength[emitted])


def pixel_blocks(camera: Camera, edge_mm: float) -> Tensor:
    """Block of each pixel, [pixel] int64: squares of about ``edge_mm`` on each panel."""
    detector = camera.spec.detector
    side = max(1, round(edge_mm / detector.pitch_mm))
    rows, columns = -(-detector.rows // side), -(-detector.columns // side)
    row, column = camera.pixel_row // side, camera.pixel_column // side
    number: Tensor = (camera.pixel_panel * rows + row) * columns + column
    return number


def _gain(runs: Sequence[Tensor], background: Tensor, wanted: slice, left_out: int | None) -> float:
    """Gain from all repeats but one."""
    before, after = (
        relative_deviations(
            cross_information([part for k, part in enumerate(run) if k != left_out], background)
        )[wanted].sum()
        for run in runs
    )
    return float(before / after)


def _in_blocks(counts: Tensor, block: Tensor) -> Tensor:
    """Counts [part, pixel, bin] summed over blocks, [part, block x bin]."""
    summed = counts.new_zeros(len(counts), int(block.max()) + 1, counts.shape[2])
    return summed.index_add(1, block, counts).flatten(1)


def _background(problem: DesignProblem) -> Tensor:
    """Expected background counts of every block and bin, [block x bin]."""
    camera = problem.camera
    rate = camera.background_cps_per_kev * problem.windows.edges_kev.diff()
    counts = problem.task.duration_s * camera.time_fraction[:, None] * rate
    return _in_blocks(counts[None], pixel_blocks(camera, BLOCK_MM))[0]
