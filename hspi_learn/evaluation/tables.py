"""Tables of an evaluation, each written as CSV, Markdown and LaTeX.

Metrics are defined in ``hspi_learn/metrics``; activity concentrations are in Bq/mL, counts are those of a
scan in all energy windows. A dagger marks what the Cramer-Rao bound calls not identifiable.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hspi_learn.evaluation.identifiability import LIMIT
from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Outcome
from hspi_learn.evaluation.summary import size_classes
from hspi_learn.io.atomic import write_text
from hspi_learn.metrics import reduce_scans, relative_bias

Cell = str | float
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\u2020": r"$^{\dagger}$"}
)


FAILED = "failed"
"""Stands in place of every figure of a method that failed on a sample: it is not ranked."""

MARK = "\u2020"
"""Stands behind a figure of an activity that the Cramer-Rao bound calls not identifiable."""


class NotIdentifiable(float):
    """A number that is shown with a dagger; in CSV it is the number, beside the bound."""


def mark_told(numbers: Mapping[str, float]) -> str:
    """What the dagger means; nothing where no bound is known."""
    if not any(name.startswith("test/least_sd") for name in numbers):
        return ""
    return (
        f"{MARK} Not identifiable: the Cramer-Rao bound (least relative SD of an unbiased estimate, "
        "outlines known, median over what is shown) is over 50 %: the figure tells what a method learned "
        "or assumes."
    )


def marked(value: float, bound: float | None) -> float:
    """A figure of an activity, marked where the activity's bound (least relative SD) is above a half."""
    return NotIdentifiable(value) if bound is not None and bound > LIMIT else value


@dataclass(frozen=True)
class Table:
    """Rows under named columns. Numbers keep full precision in CSV; :func:`shown` rounds them elsewhere."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> str:
        """Comma-separated values; a number that is undefined (NaN) is an empty field."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if _unknown(cell) else cell for cell in row] for row in self.rows)
        return buffer.getvalue()

    def markdown(self) -> str:
        """A pipe table with its caption above."""
        rule = ["---"] + ["---:"] * (len(self.columns) - 1)
        lines = [self.columns, rule, *([shown(cell) for cell in row] for row in self.rows)]
        return f"{self.caption}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """A floating table for the booktabs package."""
        body = "".join(_latex_line([shown(cell) for cell in row]) for row in self.rows)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{self.caption.translate(_LATEX)}}}\n"
            f"\\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}\n\\toprule\n"
            f"{_latex_line(self.columns)}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
        )

    def write(self, folder: Path) -> None:
        """The three files NAME.csv, NAME.md and NAME.tex."""
        for suffix, text in (("csv", self.csv()), ("md", self.markdown()), ("tex", self.latex())):
            write_text(folder / f"{self.name}.{suffix}", text)


def shown(cell: Cell) -> str:
    """A cell as people read it; a dash for a number that is undefined (NaN) or infinite.

    From 100 up a number is rounded to a whole one, from 1 to three significant digits, below 1 to three
    decimals.
    """
    if isinstance(cell, str):
        return cell
    if _unknown(cell):
        return "-"
    if isinstance(cell, NotIdentifiable):
        return f"{shown(float(cell))} {MARK}"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}" if abs(cell) >= 1 else f"{cell:.3f}"


def _unknown(cell: Cell) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + " \\\\\n"


def headline_table(
    outcome: ReconstructionOutcome, numbers: Mapping[str, float], groups: Sequence[str]
) -> Table:
    """A row for each method and map: tumours first, then organs, then all voxels, clean and attacked."""
    columns = ["Method", "map", "tumour error", "slope", "AUC", "false lesions", "organ error"]
    columns += ["NRMSE", *(f"NRMSE, {kind}" for kind in outcome.attacks), "least SD"]
    rows: list[tuple[Cell, ...]] = []
    for method in outcome.methods:
        for group in groups:
            bounds = {
                of: numbers.get(f"test/least_sd_{of}/{group}", math.nan) for of in ("tumours", "organs")
            }
            found: list[Cell] = []
            for name, of in _HEADLINE.items():
                found.append(
                    _cell(outcome, FULL, method, numbers, f"{name}/{method}/{group}", bounds.get(of))
                )
            for kind in outcome.attacks:
                key = f"nrmse/{method}_{kind}/{group}"
                found.append(_cell(outcome, Condition(1.0, kind), method, numbers, key))
            rows.append((outcome.label(method), group, *found, bounds["tumours"]))
    return Table("methods", _headline_caption(outcome, numbers), tuple(columns), tuple(rows))


_HEADLINE = {
    "tumour_error": "tumours",
    "tumour_slope": "tumours",
    "tumour_auc": "",
    "false_lesions": "",
    "organ_error": "organs",
    "nrmse": "",
}
"""Figures of the headline, and whose bound says whether they are identifiable."""


def _cell(
    outcome: Outcome,
    condition: Condition,
    method: str,
    numbers: Mapping[str, float],
    key: str,
    bound: float | None = None,
) -> Cell:
    """A number of a method, marked by the bound of its activity; or that the method failed."""
    if method in outcome.failed.get(condition, {}) and outcome.failures(condition, method):
        return FAILED
    return marked(numbers.get(f"test/{key}", math.nan), bound)


def _headline_caption(outcome: ReconstructionOutcome, numbers: Mapping[str, float]) -> str:
    """What the columns of the headline are."""
    attacked = ""
    if outcome.attacks:
        mice = int(numbers.get("test/mice_attacked", 0))
        attacked = f" Under {' and '.join(outcome.attacks)}: over the first {mice} mice."
    return (
        f"{len(outcome.truths)} unseen mice with {int(numbers['test/tumours'])} tumours. Tumour error: "
        "relative error (no sign) of a tumour's mean activity, median over tumours. Slope: of this mean "
        "against truth, each mouse divided by the mean of its true organ means; 1 is ideal. AUC: chance "
        "that a tumour voxel is hotter than one of soft tissue, median over mice. False lesions: peaks "
        "of soft tissue in a scan, above the threshold that finds 80 % of the tumours. Organ error: "
        "median over mice, mean over organs. NRMSE: ||x - t|| / ||t|| over all voxels of the body where "
        f"sensitivity is 10 % of its maximum or more, median over mice.{attacked}{mark_told(numbers)}"
    )


def nrmse_table(outcome: ReconstructionOutcome, numbers: Mapping[str, float]) -> Table:
    """A row for each method: NRMSE over all voxels and over tumour voxels, slope over all regions."""
    figures = ("nrmse", "nrmse_mean", "nrmse_worst", "nrmse_tumour", "slope")
    rows: list[tuple[Cell, ...]] = []
    for method in outcome.methods:
        cells = [_cell(outcome, FULL, method, numbers, f"{figure}/{method}") for figure in figures]
        for kind in outcome.attacks:
            cells.append(_cell(outcome, Condition(1.0, kind), method, numbers, f"nrmse/{method}_{kind}"))
        rows.append((outcome.label(method), *cells))
    columns = ["Method", "NRMSE median", "mean", "worst", "tumours only", "slope"]
    columns += [f"median, {kind}" for kind in outcome.attacks]
    caption = (
        f"NRMSE over {len(outcome.truths)} unseen mice, mean over activity maps. Tumours only: over their "
        "voxels, median over mice. Slope: over means of all organs and tumours, with intercept; 1 is "
        "ideal but does not exclude a constant bias."
    )
    return Table("nrmse", caption, tuple(columns), tuple(rows))


def tumours_table(
    outcome: ReconstructionOutcome, numbers: Mapping[str, float], groups: Sequence[str]
) -> Table:
    """A row for each method, map and third of tumours by volume: error and bias of their mean activity."""
    (low, high), classes = size_classes(outcome.lesion_mm3)
    spans = {"small": f"to {low:.0f}", "middle": f"{low:.0f} to {high:.0f}", "large": f"over {high:.0f}"}
    rows: list[tuple[Cell, ...]] = []
    for method in outcome.methods:
        for group in groups:
            for size, chosen in classes.items():
                bound = numbers.get(f"test/least_sd_tumours_{size}/{group}", math.nan)
                keys = (f"{figure}_{size}/{method}/{group}" for figure in ("tumour_error", "tumour_bias"))
                cells = [_cell(outcome, FULL, method, numbers, key, bound) for key in keys]
                rows.append((outcome.label(method), group, spans[size], float(chosen.sum()), *cells, bound))
    columns = ("Method", "map", "volume (mm3)", "tumours", "error", "bias", "least SD")
    caption = (
        "Relative error (without sign) and bias of the mean activity of tumours, by third of their volume, "
        f"median over tumours.{mark_told(numbers)}"
    )
    return Table("tumours", caption, columns, tuple(rows))


def texture_table(outcome: ReconstructionOutcome, numbers: Mapping[str, float]) -> Table:
    """A row for each method, the truth first: detail and roughness over the truth's, Frechet distance."""
    figures = ("power_ratio", "total_variation", "frechet", "nrmse")
    floor = numbers.get("test/frechet/truth", math.nan)
    rows: list[tuple[Cell, ...]] = [("Truth", 1.0, 1.0, floor, 0.0)]
    for method in outcome.methods:
        cells = [_cell(outcome, FULL, method, numbers, f"{figure}/{method}") for figure in figures]
        rows.append((outcome.label(method), *cells))
    volumes = int(numbers.get("test/frechet_volumes", 0))
    distance = (
        f"Frechet distance: to {volumes:,} training truths in features that a network learned from them; "
        "that of the test truths is the floor."
        if volumes
        else "No Frechet distance: there are too few training truths."
    )
    caption = (
        "Do images look like truths? Power: share of the power above a quarter cycle per voxel, over that "
        "of the truth. Variation: total variation over sum, likewise. 1 is ideal for both; medians "
        f"over mice of the mean over maps. {distance}"
    )
    columns = ("Method", "power", "variation", "Frechet distance", "NRMSE median")
    return Table("texture", caption, columns, tuple(rows))


def counts_table(outcome: Outcome) -> Table:
    """NRMSE of each method at each count level, medians over mice."""
    rows: list[tuple[Cell, ...]] = []
    for fraction in outcome.fractions:
        by_method = outcome.scores[Condition(fraction)]
        counts = float(next(iter(by_method.values())).counts.quantile(0.5))
        errors = (_median_nrmse(outcome, Condition(fraction), method) for method in outcome.methods)
        rows.append((f"{fraction:g}", counts, *errors))
    columns = ("Share of counts", "counts (median)", *(outcome.label(m) for m in outcome.methods))
    return Table(
        "counts", "Median NRMSE over mice against counts (binomially thinned scans).", columns, tuple(rows)
    )


def _median_nrmse(outcome: Outcome, condition: Condition, method: str, first: int | None = None) -> Cell:
    """Median over the (first so many) mice, or that the method failed on one."""
    if outcome.failures(condition, method):
        return FAILED
    return float(reduce_scans(outcome.scores[condition][method].scan_nrmse[:first], "median"))


def bias_table(
    outcome: ReconstructionOutcome,
    groups: Sequence[str],
    organs: Sequence[str],
    numbers: Mapping[str, float],
) -> Table:
    """Relative bias of the mean of each organ, map and method: median over mice, and the SD between mice.

    Args:
        outcome: outcome of the study.
        groups: names of the activity maps.
        organs: names of the labels.
        numbers: what ``metrics.json`` holds, bounds among it.
    """
    rows: list[tuple[Cell, ...]] = []
    truth = outcome.truth_regions
    for o, organ in enumerate(organs):
        for m, group in enumerate(groups):
            if not bool((truth[:, m, o] > 0).any()):
                continue
            bound = numbers.get(f"test/least_sd/{organ}/{group}", math.nan)
            row: list[Cell] = [organ, group, float(truth[:, m, o].nanquantile(0.5)), bound]
            for method in outcome.methods:
                if method not in outcome.ranked:
                    row += [FAILED, FAILED]
                    continue
                bias = relative_bias(outcome.scores[FULL][method].regions[:, m, o], truth[:, m, o])
                known = bias[torch.isfinite(bias)]
                row += [
                    marked(float(known.quantile(0.5)), bound),
                    marked(float(known.std(unbiased=False)), bound),
                ]
            rows.append(tuple(row))
    named = [(f"{outcome.label(m)} bias", f"{outcome.label(m)} SD") for m in outcome.methods]
    columns = ("Organ", "map", "true Bq/mL", "least SD", *(name for pair in named for name in pair))
    caption = (
        "Relative bias of regional means, median over mice, and its SD between mice, both as fractions of "
        "the true mean. Means are over voxels with 10 % or more of the maximum sensitivity."
        f"{mark_told(numbers)}"
    )
    return Table("regional_bias", caption, columns, tuple(rows))


def mice_table(outcome: Outcome, groups: Sequence[str], facts: Mapping[str, Sequence[float]]) -> Table:
    """NRMSE and contrast to noise (CNR) by mouse, condition, method and map.

    Args:
        outcome: outcome of the study.
        groups: names of the activity maps.
        facts: column name to a value for each mouse, such as its injected activity in kBq.
    """
    rows: list[tuple[Cell, ...]] = []
    for condition, by_method in outcome.scores.items():
        for method, scores in by_method.items():
            for mouse in range(len(scores.nrmse)):
                for m, group in enumerate(groups):
                    metrics = (scores.nrmse, scores.tumour_nrmse, scores.cnr)
                    cells = (float(metric[mouse, m]) for metric in metrics)
                    about = (float(facts[name][mouse]) for name in facts)
                    shares = (condition.fraction, float(scores.counts[mouse]))
                    rows.append(
                        (str(mouse), *about, condition.kind, *shares, outcome.label(method), group, *cells)
                    )
    columns = (
        "mouse",
        *facts,
        "condition",
        "share",
        "window_counts",
        "method",
        "map",
        "nrmse",
        "nrmse_tumour",
        "cnr",
    )
    caption = "NRMSE and contrast to noise (CNR) by mouse, condition, method and map."
    return Table("mice", caption, columns, tuple(rows))


def attacks_table(outcome: ReconstructionOutcome) -> Table:
    """Median NRMSE over the attacked mice, clean and under each attack."""
    by_attack = [outcome.scores[Condition(1.0, kind)] for kind in outcome.attacks]
    mice = min((len(s.nrmse) for found in by_attack for s in found.values()), default=len(outcome.truths))
    rows: list[tuple[Cell, ...]] = []
    for method in (m for m in outcome.methods if all(m in found for found in by_attack)):
        attacked = (_median_nrmse(outcome, Condition(1.0, kind), method) for kind in outcome.attacks)
        cells = (_median_nrmse(outcome, FULL, method, mice), *attacked)
        rows.append((outcome.label(method), *cells))
    caption = f"Median NRMSE, clean and under attack, over the {mice} mice that were attacked."
    return Table("attacks", caption, ("Method", CLEAN, *outcome.attacks), tuple(rows))


def attacked_samples_table(outcome: Outcome) -> Table:
    """A row for each attacked sample, attack and method: the objective before and under the attack, and
    whether the attack was masked or did not converge.

    The objective is what the attack maximises (``hspi_learn/attacks/objectives.py``): the error of the task,
    such as NRMSE, the activity of a region in Bq (negative where it is to be hidden), or its relative error.
    """
    rows: list[tuple[Cell, ...]] = []
    for condition, by_method in outcome.attacked.items():
        for method, record in by_method.items():
            for sample, (value, clean, masked, not_converged) in enumerate(
                zip(*(column.tolist() for column in record), strict=True)
            ):
                flags = ("yes" if masked else "no", "yes" if not_converged else "no")
                rows.append((str(sample), condition.kind, outcome.label(method), clean, value, *flags))
    columns = (
        "sample",
        "attack",
        "method",
        "clean objective",
        "attacked objective",
        "masked",
        "not converged",
    )
    caption = (
        "Every attacked sample. The objective is what the attack maximises: the task's error (NRMSE for "
        "reconstructions), the signed activity of a region in Bq, or its relative error. Masked: no "
        "gradient reached the input, so the sample shows no robustness. "
        "Not converged: the last step still raised the objective, so more steps may find worse."
    )
    return Table("attacked_samples", caption, columns, tuple(rows))
