"""Plots of an evaluation, each with the caption that says what it shows.

NRMSE, bias and slope: ``hspi_learn/metrics``. Activities come in Bq per voxel and are shown in Bq/mL or
kBq/mL. Methods that failed on a mouse are not shown beside the others, nor are oracles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_gen.core.grid import VoxelGrid
from hspi_learn.evaluation.identifiability import (
    LIMIT,
    LeastDeviations,
    unidentifiable,
    unidentifiable_in_most,
)
from hspi_learn.evaluation.noise import NoisePoint, root_mean_square
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.evaluation.study import FULL, Condition
from hspi_learn.evaluation.summary import uptake_figures
from hspi_learn.metrics import relative_bias
from hspi_learn.reconstructor import BODY_DENSITY_G_CM3
from hspi_learn.visual import (
    ErrorCurve,
    Tradeoff,
    bias_variance_figure,
    error_figure,
    method_label,
    mice_figure,
    profile_figure,
    reconstruction_figure,
    recovery_figure,
    tumour_figure,
)

Array = NDArray[np.floating[Any]]


class CaptionedFigure(NamedTuple):
    """A plot and the sentence that says what it shows."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class EvaluationFigures:
    """All plots of a study's outcome.

    Args:
        outcome: scores and reconstructions of the study.
        grid: voxels of the activity maps.
        groups: names of the activity maps.
        organs: names of the labels.
        tumour: number of the tumour's label, None without one.
        energy_range_kev: lowest and highest boundary of the energy windows in which counts are summed.
        bounds: Cramer-Rao bounds of the first mice, or of all; what they call not identifiable is marked.
    """

    outcome: ReconstructionOutcome
    grid: VoxelGrid
    groups: Sequence[str]
    organs: Sequence[str]
    tumour: int | None
    energy_range_kev: tuple[float, float]
    bounds: LeastDeviations

    def figures(self, noise: Mapping[str, Sequence[NoisePoint]]) -> dict[str, CaptionedFigure]:
        """Plots by file name, in the order of the report.

        Args:
            noise: relative bias and SD over noise of each setting of each method; empty without a noise
                study.
        """
        typical, worst = self.mouse("typical"), self.mouse("worst")
        found = {f"volumes_typical_{m}": self.volumes(typical, m, "typical") for m in range(len(self.groups))}
        found["volumes_worst_0"] = self.volumes(worst, 0, "worst")
        found["profiles_typical"] = self.profiles(typical)
        if self.compared and bool((self.outcome.truth_lesions > 0).any()):
            found["tumours"] = self.tumours()
        if self.outcome.competing:
            found["errors_by_mouse"] = self.mice()
        if self.compared:
            found["recovery"] = self.recovery()
        if len(self.outcome.fractions) > 1 and self.outcome.competing:
            found["error_against_counts"] = self.counts()
        if noise:
            found["bias_variance"] = self.bias_variance(noise)
        return found

    @property
    def compared(self) -> list[str]:
        """Methods whose activities are shown: those that did not fail, without the mean image and oracles."""
        return [m for m in self.outcome.competing if m != "mean_image"]

    def mouse(self, which: str) -> int:
        """Mouse with the median ("typical") or the largest ("worst") NRMSE of the first method."""
        errors = self.outcome.scores[FULL][self._first].scan_nrmse
        order = torch.argsort(errors.nan_to_num(nan=-1.0))
        return int(order[-1] if which == "worst" else order[len(order) // 2])

    @property
    def _first(self) -> str:
        """The method by which mice are chosen: the first that did not fail."""
        return next(iter(self.outcome.competing), self.outcome.methods[0])

    def concentrations(self, mouse: int, group: int) -> tuple[dict[str, Array], str]:
        """Activity concentration of one map of one mouse, true and by every method but the mean image and
        oracles, and its unit.
        """
        maps = {"truth": self.outcome.truths} | self.outcome.predictions
        volumes = {
            name: (volume[mouse, group] / self.grid.voxel_volume_ml).double().numpy()
            for name, volume in maps.items()
            if name not in ("mean_image", *self.outcome.oracles)
        }
        return _in_unit(volumes)

    def volumes(self, mouse: int, group: int, which: str) -> CaptionedFigure:
        """Maximum projections, a slice, and its errors, of one map of one mouse."""
        volumes, unit = self.concentrations(mouse, group)
        body = (self.outcome.density[mouse] > BODY_DENSITY_G_CM3).numpy()
        counts = float(next(iter(self.outcome.scores[FULL].values())).counts[mouse])
        title = f"Mouse {mouse}, {self.groups[group]}, {counts:,.0f} counts in the windows"
        figure = reconstruction_figure(volumes, self.grid.spacing_mm, unit, body, title)
        rank = "the median" if which == "typical" else "the largest"
        caption = (
            f"{self.groups[group]} in the test mouse with {rank} NRMSE of {method_label(self._first)}: "
            "maximum projections and the slice through the hottest voxel, on the colour scale of the truth; "
            f"below, the error of the slice.{self._not_identifiable(mouse, group)}"
        )
        return CaptionedFigure(figure, caption)

    def _not_identifiable(self, mouse: int, group: int) -> str:
        """Which organs of a map of a mouse a scan cannot tell, as a sentence."""
        if mouse >= len(self.bounds.regions):
            return ""
        names = (organ.replace("_", " ") for organ in self.organs)
        bounds = zip(names, self.bounds.regions[mouse, group].tolist(), strict=True)
        lost = [f"{organ} ({100 * value:.0f} %)" for organ, value in bounds if value > LIMIT]
        told = f"Not identifiable (least relative SD above {100 * LIMIT:.0f} %)"
        return f" {told}: {', '.join(lost)}." if lost else ""

    def profiles(self, mouse: int) -> CaptionedFigure:
        """Profiles along x, y and z through the hottest voxel of the first map."""
        volumes, unit = self.concentrations(mouse, 0)
        z, y, x = np.unravel_index(int(volumes["truth"].argmax()), volumes["truth"].shape)
        figure = profile_figure(volumes, self.grid.spacing_mm, unit, (int(z), int(y), int(x)))
        return CaptionedFigure(
            figure,
            f"Profiles of {self.groups[0]} through the hottest voxel of mouse {mouse}."
            + self._not_identifiable(mouse, 0),
        )

    def mice(self) -> CaptionedFigure:
        """NRMSE of every mouse by every method."""
        scores = self.outcome.scores[FULL]
        errors = {name: scores[name].scan_nrmse.double().numpy() for name in self.outcome.competing}
        caption = f"NRMSE of each unseen mouse; grey lines join one mouse.{self._failed()}"
        return CaptionedFigure(mice_figure(errors), caption)

    def _failed(self) -> str:
        """Methods that are not shown since they failed, as a sentence."""
        failed = [method_label(m) for m in self.outcome.methods if m not in self.outcome.ranked]
        return f" Not shown, since it failed: {', '.join(failed)}." if failed else ""

    def tumours(self) -> CaptionedFigure:
        """Error of the mean activity of every tumour over its volume."""
        truth, scores = self.outcome.truth_lesions, self.outcome.scores[FULL]
        known = (truth > 0).all(dim=1)
        errors: dict[str, dict[str, Array]] = {}
        lost = {}
        for m, group in enumerate(self.groups):
            errors[group] = {
                method: relative_bias(scores[method].lesions[:, m], truth[:, m])[known].double().numpy()
                for method in self.compared
            }
            lost[group] = unidentifiable(self.bounds.lesions, truth)[:, m][known].numpy()
        figure = tumour_figure(self.outcome.lesion_mm3[known].double().numpy(), errors, lost)
        caption = (
            "Error of the mean activity of each tumour over its volume, drawn at -100 or 150 % where it is "
            f"beyond. Open: not identifiable, the Cramer-Rao bound is above {100 * LIMIT:.0f} %."
            f"{self._failed()}"
        )
        return CaptionedFigure(figure, caption)

    def recovery(self) -> CaptionedFigure:
        """Estimated against true means of organs and tumours."""
        truth = self.outcome.truth_regions
        region = torch.arange(truth.shape[2]).expand_as(truth)
        chosen, scores = self.compared, self.outcome.scores[FULL]
        known = (truth > 0) & torch.stack([torch.isfinite(scores[m].regions) for m in chosen]).all(0)
        means, unit = _in_unit(
            {"truth": truth[known].double().numpy()}
            | {m: scores[m].regions[known].double().numpy() for m in chosen}
        )
        tumour = (region[known] == (-1 if self.tumour is None else self.tumour)).numpy()
        slopes = {m: uptake_figures(scores[m], truth).slope for m in chosen}
        lost = unidentifiable(self.bounds.regions, truth)[known].numpy()
        figure = recovery_figure(means.pop("truth"), means, slopes, unit, tumour, lost)
        caption = (
            "Means of organs and tumours, all maps and mice, over voxels with 10 % or more of the maximum "
            "sensitivity, against the truth. Slope: least squares with intercept, after dividing each "
            "mouse's means by the mean of its true organ means; below 1, hot regions are underestimated "
            "more than cold ones. Grey: not identifiable, the Cramer-Rao bound is above "
            f"{100 * LIMIT:.0f} %.{self._failed()}"
        )
        return CaptionedFigure(figure, caption)

    def counts(self) -> CaptionedFigure:
        """NRMSE against counts in the energy windows, and under attack at full counts."""
        curves: dict[str, list[ErrorCurve]] = {}
        for method in self.outcome.competing:
            shown = [f for f in self.outcome.fractions if not self.outcome.failures(Condition(f), method)]
            levels = [self.outcome.scores[Condition(f)][method] for f in shown]
            counts = np.array([float(level.counts.quantile(0.5)) for level in levels])
            curves[method] = [ErrorCurve(counts, np.stack([s.scan_nrmse.double().numpy() for s in levels]))]
            for kind in self.outcome.attacks:
                attacked = self.outcome.scores[Condition(1.0, kind)].get(method)
                if attacked is not None and not self.outcome.failures(Condition(1.0, kind), method):
                    errors = attacked.scan_nrmse.double().numpy()[None]
                    curves[method].append(ErrorCurve(counts[:1], errors, kind))
        caption = (
            "NRMSE against counts in the energy windows; scans with fewer counts are binomially thinned."
        )
        for kind in self.outcome.attacks[:1]:
            mice = len(next(iter(self.outcome.scores[Condition(1.0, kind)].values())).nrmse)
            caption += f" Under attack at full counts: median over the first {mice} mice."
        return CaptionedFigure(error_figure(curves, self.energy_range_kev), caption + self._failed())

    def bias_variance(self, noise: Mapping[str, Sequence[NoisePoint]]) -> CaptionedFigure:
        """Relative bias against relative SD of identifiable regional means over repeated Poisson draws."""
        lost = unidentifiable_in_most(self.bounds.regions)
        tradeoffs = {
            method: Tradeoff(
                np.array([_over_identifiable(point.bias, lost) for point in points]),
                np.array([_over_identifiable(point.sd, lost) for point in points]),
                [point.name for point in points],
                [point.evaluated for point in points],
            )
            for method, points in noise.items()
            if not any(bool(torch.isinf(point.sd).any()) for point in points)
        }
        caption = (
            "Relative bias and SD of organ and tumour means over repeated Poisson draws of one test mouse, "
            "in voxels with 10 % or more of the maximum sensitivity, root mean square over regions and maps; "
            f"{int(lost.sum())} are left out that most scans cannot tell (Cramer-Rao bound above "
            f"{100 * LIMIT:.0f} %). Numbers are OSEM iterations; large marks: settings that are compared."
        )
        return CaptionedFigure(bias_variance_figure(tradeoffs), caption)


def _over_identifiable(values: torch.Tensor, lost: torch.Tensor) -> float:
    """Root mean square of values [map, region] that are not lost; NaN where all are."""
    return root_mean_square(values.masked_fill(lost, torch.nan))


def _in_unit(values: Mapping[str, Array]) -> tuple[dict[str, Array], str]:
    """Values in Bq/mL, or in kBq/mL where the truth reaches 1000 Bq/mL, and the name of the unit."""
    high = float(np.nanmax(values["truth"])) >= 1000
    scale, unit = (1e-3, "kBq/mL") if high else (1.0, "Bq/mL")
    return {name: scale * value for name, value in values.items()}, unit
