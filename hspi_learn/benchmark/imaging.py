"""Figures of the imaging suite: methods by number of counts, gathered from evaluations, over trainings.

Each has the name under which the suite publishes it: ``tumour_rms/unet/60mm3/1e5``. Figures of
tumours are of the reading that validation scans call better (image or regional estimate) and of tumours whose
Cramer-Rao bound is under 20 %, nuclides weighted by their numbers; all others are means over nuclides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data_gen.core.errors import UserError
from data_gen.validation.point import Findings, Plot, Point
from hspi_learn.metrics import BINS_MM3, mean_interval

BIN_NAMES = {
    name: name.removesuffix("mm3").replace("_", "-") if "_" in name else name for name, *_ in BINS_MM3
}
"""Names of the bins of volume in figures (0-30, 30-60, 60mm3), by those in evaluations."""

PER_MAP = {
    "organ_rms": ("organ_error", "mean over organs of the median relative error"),
    "auc_detection": ("tumour_auc", "chance that a tumour voxel is hotter than one of the background"),
    "false_lesions": ("false_lesions", "in a scan"),
}
"""Names in evaluations of figures that are means over maps, and what they are."""

WITHIN = {"60mm3": 0.15, "30-60": 0.30}
"""Largest bias of the activity of tumours, by volume."""

SHARE = 0.75
"""Largest RMS error, organ error and NRMSE, over those of the best classical method."""


class _Figure(NamedTuple):
    """A figure of a method at a number of counts, of each of its trainings."""

    name: str
    values: Sequence[float]
    note: str


def imaging_figures(
    evaluations: Mapping[str, str],
    methods: Mapping[str, Sequence[str]],
    classical: Sequence[str],
    judged_at: Sequence[str] = ("1e5",),
) -> Findings:
    """Figures of all methods at all numbers of counts, and what trained ones must reach.

    Figures are headlines too: ``metrics.json`` has them under their own names.

    Args:
        evaluations: run folder of an evaluation, by number of counts.
        methods: names under which an evaluation has the trainings of each method, by the method's name.
        classical: methods that the trained ones are compared with: the better of them for each figure.
        judged_at: numbers of counts at which they are; texture is told at the first.

    Raises:
        UserError: a folder holds no finished evaluation, or one lacks a method.
    """
    found: dict[str, _Figure] = {}
    for counts, folder in evaluations.items():
        numbers = _numbers(Path(folder))
        for method, runs in methods.items():
            figures = [*_figures(numbers, method, runs, counts)]
            if counts == judged_at[0]:
                figures += _textures(numbers, method, runs)
            found |= {figure.name: figure for figure in figures}
    points = [point for figure in found.values() for point in _points(figure)]
    trained = [method for method in methods if method not in classical and method != "mean_image"]
    for counts in judged_at:
        for method in trained:
            points += _judged(found, method, classical, counts)
    headlines = {name: _mean(figure.values) for name, figure in found.items()}
    plots = [_plot(found, methods, list(evaluations), *kind) for kind in _PLOTS]
    return Findings(points, plots, headlines)


def _numbers(folder: Path) -> dict[str, float]:
    """The numbers of an evaluation.

    Raises:
        UserError: there are none.
    """
    file = folder / "metrics.json"
    if not file.is_file():
        raise UserError(f"evaluations names {folder}, which has no metrics.json; run its cell first")
    found: dict[str, float] = json.loads(file.read_text())
    return found


def _figures(
    numbers: Mapping[str, float], method: str, runs: Sequence[str], counts: str
) -> Iterator[_Figure]:
    """All figures of a method at a number of counts.

    Raises:
        UserError: the evaluation does not know one of its trainings.
    """
    for run in runs:
        if f"test/failed/{run}" not in numbers:
            raise UserError(f"methods.{method} names {run}, which the evaluation at {counts} does not have")
    maps = sorted(
        key.split("/")[3]
        for key in numbers
        if key.startswith(f"test/nrmse/{runs[0]}/")
        if key.count("/") == 3
    )
    nrmse = [numbers.get(f"test/nrmse/{run}", math.nan) for run in runs]
    yield _Figure(f"nrmse_median/{method}/{counts}", nrmse, "median over mice")
    for name, (key, told) in PER_MAP.items():
        values = [_mean([numbers.get(f"test/{key}/{run}/{one}", math.nan) for one in maps]) for run in runs]
        yield _Figure(f"{name}/{method}/{counts}", values, told)
    for size, short in BIN_NAMES.items():
        for kind in ("bias", "rms", "slope"):
            values = [_of_tumours(numbers, kind, run, maps, size) for run in runs]
            yield _Figure(f"tumour_{kind}/{method}/{short}/{counts}", values, "relative, of whole tumours")


def _textures(numbers: Mapping[str, float], method: str, runs: Sequence[str]) -> Iterator[_Figure]:
    """What an adversary might improve, where the evaluation tells it."""
    for name in ("frechet", "power_ratio", "total_variation"):
        if f"test/{name}/{runs[0]}" in numbers:
            values = [numbers.get(f"test/{name}/{run}", math.nan) for run in runs]
            yield _Figure(f"{name}/{method}", values, "")


def _of_tumours(numbers: Mapping[str, float], kind: str, run: str, maps: Sequence[str], size: str) -> float:
    """A figure of tumours of a size, maps weighted by their numbers of identifiable tumours."""
    total = weight = 0.0
    for one in maps:
        place = f"{run}/{one}/{size}"
        tumours = numbers.get(f"test/tumour_activity/tumours/{place}", 0.0)
        value = numbers.get(f"test/tumour_activity/{kind}/{place}/chosen", math.nan)
        if tumours and math.isfinite(value):
            total, weight = total + tumours * value, weight + tumours
    return total / weight if weight else math.nan


def _points(figure: _Figure) -> Iterator[Point]:
    """The mean of a figure over trainings, and its 95 % t interval where there are several."""
    values = torch.tensor(list(figure.values), dtype=torch.float64)
    several = f"mean of {len(values)} trainings" if len(values) > 1 else ""
    note = ", ".join(part for part in (figure.note, several) if part)
    yield Point(figure.name, float(values.mean()), None, "", "", note)
    if len(values) > 1:
        interval = mean_interval(values)
        yield Point(f"{figure.name}/low", interval.low, None, "", "", "95 % t interval over trainings")
        yield Point(f"{figure.name}/high", interval.high, None, "", "", "95 % t interval over trainings")


def _judged(
    found: Mapping[str, _Figure], method: str, classical: Sequence[str], counts: str
) -> Iterator[Point]:
    """What a trained method must reach at a number of counts."""
    for size, limit in WITHIN.items():
        bias = abs(_mean(found[f"tumour_bias/{method}/{size}/{counts}"].values))
        yield Point(f"reached/tumour_bias/{method}/{size}/{counts}", bias, limit, "0", "true activity")
    for kind in (*(f"tumour_rms/{{}}/{size}" for size in WITHIN), "organ_rms/{}", "nrmse_median/{}"):
        own = _mean(found[f"{kind.format(method)}/{counts}"].values)
        others = {one: _mean(found[f"{kind.format(one)}/{counts}"].values) for one in classical}
        known = {one: value for one, value in others.items() if math.isfinite(value)}
        if known:
            best = min(known, key=lambda one: known[one])
            name = f"reached/{kind.format(method)}/{counts}"
            yield Point(name, own / known[best], SHARE, f"{known[best]:.3f}", f"best classical: {best}")


_PLOTS = (
    ("nrmse_median/{}", "NRMSE", "Error over all voxels of the body, median over mice."),
    ("organ_rms/{}", "relative error of organs", "Mean over organs of the median relative error."),
    ("tumour_rms/{}/60mm3", "RMS relative error", "Activity of tumours from 60 mm3."),
    ("tumour_bias/{}/60mm3", "bias", "Bias of the activity of tumours from 60 mm3."),
    ("false_lesions/{}", "false lesions a scan", "False lesions in a scan."),
)


def _plot(
    found: Mapping[str, _Figure],
    methods: Mapping[str, Sequence[str]],
    counts: Sequence[str],
    kind: str,
    label: str,
    caption: str,
) -> Plot:
    """A figure of every method against the number of counts."""
    events = np.array([float(one) for one in counts])
    curves = {
        method: (events, np.array([_mean(found[f"{kind.format(method)}/{one}"].values) for one in counts]))
        for method in methods
    }
    name = kind.replace("/{}", "").replace("/", "_")
    return Plot(name, f"{caption} Mean over trainings.", "accepted events", label, curves, ("log", "linear"))


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN if one is, or of none."""
    return sum(values) / len(values) if values else math.nan
