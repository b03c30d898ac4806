"""Recorded spectra of a whole decay chain: the forward model compared with the Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import EnergyBins
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.montecarlo import Batches
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.validation.objects import Scene, scene
from data_gen.validation.point import Findings, Plot, Point
from data_gen.validation.scenes import named_camera
from data_gen.validation.truth import MC, Recorded, recorded, sampled_lines

_ENOUGH = 1e4
"""Counts (by its own error) that an energy bin of the Monte Carlo needs to be compared."""

WINDOWS_KEV = {
    "Ra-223": {82: (75.0, 90.0), 154: (148.0, 160.0), 270: (262.0, 278.0)},
    "Ac-225": {218: (210.0, 224.0), 440: (428.0, 448.0)},
}
"""Windows around the full-energy peaks of the lines that the tolerances name."""


def spectra(
    camera: str = "alpha_spect_mini",
    nuclide: str = "Ra-223",
    scenes: Sequence[str] = ("point", "cylinder", "mouse"),
    photons: int = 20_000_000,
    seed: int = 0,
) -> Findings:
    """Recorded counts of a whole chain: windows 5 %, profiles 5 % of the peak, 10 keV bins 5 %.

    Args:
        camera: name.
        nuclide: parent; all activity maps are alike, 1 Bq of each head.
        scenes: names.
        photons: photons simulated by the Monte Carlo for each scene.
        seed: random seed of the Monte Carlo.
    """
    points: list[Point] = []
    plots = []
    for name in scenes:
        both = _both(named_camera(camera), nuclide, scene(name), photons, seed)
        points += [*_windows(name, nuclide, both), _bins(name, both)]
        plots.append(_plot(name, camera, nuclide, both))
    return Findings(points, plots)


@dataclass(frozen=True)
class _Both:
    """Counts a second per Bq of each head, by row of the panels (summed) and bin of 2 keV, both ways."""

    edges_kev: Tensor
    model: Tensor
    truth: Recorded


def _both(camera: Camera, nuclide: str, what: Scene, photons: int, seed: int) -> _Both:
    chain, axis = decay_chain(nuclide), EnergyBins(20.0, 600.0, 290)
    model = HyperspectralForwardModel(camera, chain, what.grid, axis, groups=tied_groups(chain))
    activity = what.activity.float().expand(1, len(model.groups.names), *what.grid.shape)
    with torch.no_grad():
        counts = model.A(activity, what.density.float()[None])[0].double()
    row = camera.pixel_row
    rows = torch.zeros(int(row.max()) + 1, axis.count, dtype=torch.float64).index_add_(0, row, counts)
    lines = sampled_lines(model.lines, model.groups.weights[model.lines.member].sum(1))
    return _Both(axis.edges_kev, rows, recorded(camera, what, lines, axis, photons, seed))


def _windows(name: str, nuclide: str, both: _Both) -> list[Point]:
    """Total and profile along z of each window."""
    points = []
    for line, (low, high) in WINDOWS_KEV[nuclide].items():
        inside = (both.edges_kev[:-1] >= low) & (both.edges_kev[1:] <= high)
        ours, theirs = both.model[:, inside].sum(1), both.truth.rows[:, inside].sum(1)
        noise = float(both.truth.variance[:, inside].sum().sqrt() / theirs.sum())
        note = f"{low:g} to {high:g} keV; Monte Carlo error about {100 * noise:.2g} %"
        total = abs(float(ours.sum() / theirs.sum()) - 1)
        coarse_ours, coarse_theirs = _by_four(ours), _by_four(theirs)
        profile = float((coarse_ours - coarse_theirs).abs().max() / coarse_theirs.max())
        points.append(Point(f"{name}_{line}kev_total", total, 0.05, "counts in the window", MC, note))
        told = "profile along z over its peak, 4 rows at a time"
        noise = float(_by_four(both.truth.variance[:, inside].sum(1)).max().sqrt() / coarse_theirs.max())
        note = f"{low:g} to {high:g} keV; Monte Carlo error of a place {100 * noise:.2g} %"
        points.append(Point(f"{name}_{line}kev_profile", profile, 0.05, told, MC, note))
    return points


def _by_four(rows: Tensor) -> Tensor:
    """Sums over four rows of pixels at a time."""
    summed: Tensor = rows[: len(rows) // 4 * 4].unflatten(0, (-1, 4)).sum(1)
    return summed


def _bins(name: str, both: _Both) -> Point:
    """The worst bin of those with enough counts."""
    truth, model = Batches(_ten_kev(both.truth.whole.values)), _ten_kev(both.model.sum(0))
    counts = (truth.mean / truth.error.clamp_min(1e-300)).square()
    enough = (counts >= _ENOUGH).nonzero()[:, 0]
    note = f"{len(enough)} of {len(counts)} bins of 10 keV have 1e4 counts or more by their error"
    if not len(enough):
        return Point(f"{name}_bins", math.nan, 0.05, "counts in every 10 keV bin", MC, note)
    off = (model / truth.mean - 1)[enough]
    worst = int(off.abs().argmax())
    low = float(both.edges_kev[0]) + 10 * int(enough[worst])
    note += f"; the worst, {low:g} to {low + 10:g} keV, is {100 * float(off[worst]):+.1f} %"
    return Point(f"{name}_bins", abs(float(off[worst])), 0.05, "counts in every 10 keV bin", MC, note)


def _ten_kev(bins: Tensor) -> Tensor:
    """Sums over 10 keV of bins of 2 keV, the last axis."""
    summed: Tensor = bins.unflatten(-1, (-1, 5)).sum(-1)
    return summed


def _plot(name: str, camera: str, nuclide: str, both: _Both) -> Plot:
    middle = np.asarray(((both.edges_kev[1:] + both.edges_kev[:-1]) / 2).numpy())
    curves: dict[str, Any] = {
        "forward model": (middle, np.asarray(both.model.sum(0).numpy()) / 2),
        "Monte Carlo": (middle, np.asarray(both.truth.rows.sum(0).numpy()) / 2),
    }
    caption = f"{nuclide} in {name.replace('_', ' ')} before {camera}: counts of the whole camera."
    axes = ("recorded energy [keV]", "counts a second, keV and Bq of each head")
    return Plot(f"spectrum_{name}", caption, *axes, curves, ("linear", "log"))
