"""Activity (Bq) of whole tumours: by the image in the true outline, and from the counts by regional estimates
in lesions that the image itself shows (``hspi_learn/classical/lesion_activity.py``).

Each reading is held against its own truth. The image is summed in the voxels of the true outline, where
tumours hold most of the voxel, and the truth is the true activity of these voxels. A regional estimate is of
the whole tumour, with its part of the voxels at the rim; the truth of that is :func:`whole_tumours`.

A tumour is found by the hottest found lesion whose maximum lies in it or in a voxel that touches it, so that
a kidney that merely touches a tumour does not find it; a lesion finds one tumour at most. A tumour that is
not found has the regional estimate 0 without an interval, since no table of lesions would have a line of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import lesion_activities
from hspi_learn.evaluation.judge import Judge, joined_columns
from hspi_learn.evaluation.tables import Cell, Table
from hspi_learn.metrics import BINS_MM3, grown, relative_bias, separate_lesions, uptake_dependence
from hspi_learn.reconstructor import ScanBatch, scan_body

KNOWN_BELOW = 0.2
"""Tumours whose Cramer-Rao bound (least relative SD) is under this make the figures; chosen."""

LEVEL = 0.9
"""Chance of the intervals to cover the true activity."""

NEAR_VOXELS = 3
"""How far from a tumour the level of each organ around it is taken, in voxels; chosen."""

READINGS = ("image", "regional")
"""How the activity of a tumour is read."""

ALL = ("all", 0.0, math.inf)
"""Tumours of every volume, beside :data:`BINS_MM3`."""


class TumourActivities(NamedTuple):
    """Tumours of scans by one method, beside the truth; NaN for tumours that a scan does not have."""

    truth_bq: Tensor
    """Activity of whole tumours, [scan, map, tumour]."""
    outlined_bq: Tensor
    """True activity in the voxels of the true outline, [scan, map, tumour]."""
    image_bq: Tensor
    """The image's activity in the same voxels."""
    regional_bq: Tensor
    """Regional estimate of whole tumours; 0 for one that is not found."""
    sd_bq: Tensor
    """Its SD by the Fisher information; NaN for a tumour that is not found, infinite for one that the counts
    cannot tell."""
    low_bq: Tensor
    """Lower end of the 90 % interval."""
    high_bq: Tensor
    """Upper end."""
    least_sd: Tensor
    """Cramer-Rao bound with the true outlines, relative."""
    volume_mm3: Tensor
    """By the true outline, [scan, tumour]."""
    total_bq: Tensor
    """True activity in view, all maps together, [scan]."""
    counts: Tensor
    """In all energy windows, [scan]."""

    @classmethod
    def joined(cls, parts: Sequence[TumourActivities]) -> TumourActivities:
        """Several scans as one."""
        return cls(*joined_columns(parts))

    def errors(self, reading: str) -> Tensor:
        """Relative errors of a reading [scan, map, tumour]; NaN where the bound is too high or unknown."""
        errors = relative_bias(*self._pair(reading))
        return errors.masked_fill(~(self.least_sd < KNOWN_BELOW), torch.nan)

    def slope(self, reading: str, chosen: Tensor) -> float:
        """Slope of a reading against its truth over chosen tumours [scan, tumour] of one map, each divided by
        the true activity in view, so that the injected activity does not pass for recovery."""
        estimate, truth = (part / self.total_bq[:, None, None] for part in self._pair(reading))
        return uptake_dependence(estimate[chosen], truth[chosen]).slope

    def _pair(self, reading: str) -> tuple[Tensor, Tensor]:
        """Estimate and truth of a reading."""
        if reading == "image":
            return self.image_bq, self.outlined_bq
        return self.regional_bq, self.truth_bq

    def of_bin(self, low_mm3: float, high_mm3: float, m: int) -> Tensor:
        """Tumours of a range of volume that make the figures of a map, [scan, map, tumour] bool."""
        size = (self.volume_mm3 >= low_mm3) & (self.volume_mm3 < high_mm3)
        chosen = torch.zeros_like(self.truth_bq, dtype=torch.bool)
        chosen[:, m] = size & torch.isfinite(self.errors("image")[:, m])
        return chosen

    @property
    def found(self) -> Tensor:
        """Tumours that a found lesion meets, [scan, map, tumour] bool."""
        return ~torch.isnan(self.sd_bq) & ~torch.isnan(self.truth_bq)


def tumour_activities(
    model: HyperspectralForwardModel, judge: Judge, scan: ScanBatch, image: Tensor, least_sd: Tensor
) -> TumourActivities:
    """Tumours of one scan (a batch of one) by an image [1, map, z, y, x] in Bq per voxel.

    Args:
        model: forward model of the scan's energy windows.
        judge: knows which label is a tumour.
        scan: counts and truth.
        image: activity by any method.
        least_sd: Cramer-Rao bound of each tumour, [1, map, tumour].
    """
    numbers = separate_lesions(judge.lesion(scan.labels))[0]
    single = functional.one_hot(numbers).movedim(-1, 0)[1:].bool()
    truth, body = scan.activity[0].double(), scan_body(scan.density)[0, 0]
    shape = (len(truth), len(single))
    regional = torch.zeros(shape, dtype=torch.float64)
    unknown = torch.full((3, *shape), torch.nan, dtype=torch.float64)
    if len(single) and bool(torch.isfinite(image).all()):
        lesions = lesion_activities(
            model,
            scan.projections[0],
            float(scan.duration_s),
            scan.density[0],
            image[0].clamp_min(0),
            body,
            LEVEL,
            profiled=False,
        )
        found = lesions.estimates
        for tumour, lesion in matched(lesions.peak, single).items():
            if found.converged:
                regional[:, tumour] = found.value[lesion].nan_to_num(0.0)
                unknown[:, :, tumour] = torch.stack((found.sd, found.low, found.high))[:, lesion]
    columns = (
        whole_tumours(truth, scan.labels[0], single),
        torch.einsum("mzyx,tzyx->mt", truth, single.double()),
        torch.einsum("mzyx,tzyx->mt", image[0].double(), single.double()),
        regional,
        *unknown,
        least_sd[0, :, : len(single)].double(),
        single.flatten(1).sum(1) * 1000 * judge.voxel_volume_ml,
    )
    totals = (truth.sum(), scan.projections[0].double().sum())
    return TumourActivities(*(column[None] for column in (*columns, *totals)))


def matched(peaks: Tensor, tumours: Tensor) -> dict[int, int]:
    """The lesion that finds each tumour, by the tumour's number from 0.

    Args:
        peaks: place of each lesion's maximum in the flattened image, the hottest lesion first, [lesion].
        tumours: voxels of each tumour, [tumour, z, y, x] bool.
    """
    found: dict[int, int] = {}
    for voxels in (tumours, grown(tumours[:, None], 1)[:, 0]):
        for lesion, peak in enumerate(peaks.tolist()):
            there = voxels.flatten(1)[:, peak].nonzero().flatten().tolist()
            free = [tumour for tumour in there if tumour not in found and lesion not in found.values()]
            found |= dict.fromkeys(free[:1], lesion)
    return found


def whole_tumours(activity: Tensor, labels: Tensor, tumours: Tensor) -> Tensor:
    """True activity of whole tumours, [map, tumour], in the unit of the activity.

    A voxel has the label of what fills most of it. So a tumour's activity is that of its own voxels, and what
    voxels that touch it hold above the level of their organ: the median of that organ within
    :data:`NEAR_VOXELS`, the touching voxels left out.

    Args:
        activity: true activity [map, z, y, x].
        labels: organ of each voxel [z, y, x].
        tumours: voxels of each tumour, [tumour, z, y, x] bool.
    """
    found = []
    for tumour in tumours:
        touching, near = (grown(tumour[None, None], n)[0, 0] for n in (1, NEAR_VOXELS))
        rim, around = touching & ~tumour, near & ~touching
        total = activity[:, tumour].sum(1)
        for organ in labels[rim].unique().tolist():
            own = rim & (labels == organ)
            level_from = around & (labels == organ)
            level = activity[:, level_from if bool(level_from.any()) else own].median(dim=1).values
            total = total + (activity[:, own] - level[:, None]).sum(1)
        found.append(total)
    return torch.stack(found, dim=1) if found else activity.new_zeros(len(activity), 0)


def chosen_reading(validation: TumourActivities, low_mm3: float, high_mm3: float, m: int) -> str:
    """The reading with the lower RMS relative error on validation scans; the image's without a tumour."""
    chosen = validation.of_bin(low_mm3, high_mm3, m)
    errors = {reading: _rms(validation.errors(reading)[chosen]) for reading in READINGS}
    return min(READINGS, key=lambda reading: errors[reading]) if bool(chosen.any()) else READINGS[0]


def tumour_activity_numbers(
    test: Mapping[str, TumourActivities], validation: Mapping[str, TumourActivities], groups: Sequence[str]
) -> dict[str, float]:
    """Figures of every method by name; only tumours whose Cramer-Rao bound is under 20 % count.

    ``test/tumour_activity/FIGURE/METHOD/GROUP/BIN/READING``: ``bias`` and ``rms`` are the median and the
    root mean square of the relative error over tumours, ``slope`` is that of the reading against the truth.
    READING is ``image``, ``regional``, or ``chosen``, which is the one of lower ``rms`` on validation scans.
    BIN is of the true volume, or ``all``. Without a READING: ``tumours``, ``found`` (share of them), ``sd``
    (median relative SD of those found), ``covered`` (share of those found whose interval holds the truth),
    and ``regional_is_chosen``, 0 or 1.
    """
    numbers: dict[str, float] = {}
    for method, readings in test.items():
        for m, group in enumerate(groups):
            for name, low, high in (*BINS_MM3, ALL):
                figures = _figures(readings, readings.of_bin(low, high, m))
                if method in validation:
                    best = chosen_reading(validation[method], low, high, m)
                    figures["regional_is_chosen"] = float(best == "regional")
                    figures |= {f"{f}//chosen": figures[f"{f}//{best}"] for f in ("bias", "rms", "slope")}
                for figure, value in figures.items():
                    kind, _, reading = figure.partition("//")
                    key = f"test/tumour_activity/{kind}/{method}/{group}/{name}"
                    numbers[f"{key}/{reading}" if reading else key] = value
    return numbers


def _figures(readings: TumourActivities, chosen: Tensor) -> dict[str, float]:
    """Figures of chosen tumours [scan, map, tumour], those of a reading as FIGURE//READING."""
    figures = {"tumours": float(chosen.sum())}
    for reading in READINGS:
        errors = readings.errors(reading)[chosen]
        figures[f"bias//{reading}"] = float(errors.quantile(0.5)) if len(errors) else math.nan
        figures[f"rms//{reading}"] = _rms(errors)
        figures[f"slope//{reading}"] = readings.slope(reading, chosen)
    found = chosen & readings.found
    truth = readings.truth_bq[found]
    inside = (readings.low_bq[found] <= truth) & (truth <= readings.high_bq[found])
    relative = readings.sd_bq[found] / readings.regional_bq[found]
    figures["found"] = float(found.sum() / chosen.sum()) if bool(chosen.any()) else math.nan
    figures["sd"] = float(relative.quantile(0.5)) if len(relative) else math.nan
    figures["covered"] = float(inside.double().mean()) if len(inside) else math.nan
    return figures


def _rms(errors: Tensor) -> float:
    """Root mean square; NaN of none."""
    return float((errors**2).mean().sqrt()) if len(errors) else math.nan


_COLUMNS = {
    "image: bias": "bias/{}/image",
    "RMS": "rms/{}/image",
    "slope": "slope/{}/image",
    "regional: bias": "bias/{}/regional",
    "RMS ": "rms/{}/regional",
    "slope ": "slope/{}/regional",
    "SD": "sd/{}",
    "covered": "covered/{}",
}


def tumour_activity_table(
    test: Mapping[str, TumourActivities],
    numbers: Mapping[str, float],
    groups: Sequence[str],
    labels: Mapping[str, str],
) -> Table:
    """A row for each method, map and bin of tumours that the scans can tell."""
    rows: list[tuple[Cell, ...]] = []
    for method in test:
        for group in groups:
            for name, low, high in (*BINS_MM3, ALL):
                place = f"{method}/{group}/{name}"
                tumours = numbers.get(f"test/tumour_activity/tumours/{place}", 0.0)
                cells = [
                    numbers.get(f"test/tumour_activity/{key.format(place)}", math.nan)
                    for key in _COLUMNS.values()
                ]
                size = "all" if name == "all" else f"from {low:.0f}" if math.isinf(high) else f"to {high:.0f}"
                best = numbers.get(f"test/tumour_activity/regional_is_chosen/{place}")
                told = "" if best is None or not tumours else "regional" if best else "image"
                share = numbers.get(f"test/tumour_activity/found/{place}", math.nan)
                rows.append((labels.get(method, method), group, size, tumours, share, *cells, told))
    columns = ("Method", "map", "volume (mm3)", "tumours", "found", *_COLUMNS, "better on validation")
    scans = max((len(readings.counts) for readings in test.values()), default=0)
    limit, level = f"{100 * KNOWN_BELOW:.0f} %", f"{100 * LEVEL:.0f} %"
    caption = (
        f"Activity of tumours on {scans} test scans, those whose Cramer-Rao bound (least relative SD) is "
        f"under {limit}: a map without such tumours has no figures (each_tumour.csv lists all). Image: its "
        "sum in the true outline, against the true activity there. Regional: maximum likelihood of the whole "
        "tumour from the counts, in lesions that the method's own image shows, against the whole true "
        "activity; a tumour that no lesion finds counts as 0. Bias: median relative error; RMS: its root "
        "mean square; SD: median relative SD by the Fisher information of tumours found; covered: share of "
        f"their {level} intervals that hold the truth. Better: the lower RMS on validation scans."
    )
    return Table("tumour_activity", caption, columns, tuple(rows))


def each_tumour_table(
    test: Mapping[str, TumourActivities], groups: Sequence[str], labels: Mapping[str, str]
) -> Table:
    """A row for each tumour, method and map, those that a scan cannot tell among them."""
    rows: list[tuple[Cell, ...]] = []
    for method, readings in test.items():
        for scan, tumour in (~torch.isnan(readings.volume_mm3)).nonzero().tolist():
            about = (float(readings.counts[scan]), float(readings.volume_mm3[scan, tumour]))
            for m, group in enumerate(groups):
                values = [float(column[scan, m, tumour]) for column in readings[:8]]
                rows.append((str(scan), labels.get(method, method), group, *about, *values))
    columns = ("scan", "method", "map", "counts", "volume_mm3", *TumourActivities._fields[:8])
    return Table("each_tumour", "Every tumour of the test scans, activities in Bq.", columns, tuple(rows))
