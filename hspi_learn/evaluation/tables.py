"""Tables of an evaluation, each written as CSV, Markdown and LaTeX.

NRMSE, contrast to noise, relative bias and slope are defined in ``hspi_learn/metrics``; activity
concentrations are in Bq/mL, counts are those of a scan in all energy windows.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hspi_learn.evaluation.reconstruction import ReconstructionOutcome
from hspi_learn.evaluation.study import CLEAN, FULL, Condition, Outcome
from hspi_learn.io.atomic import write_text
from hspi_learn.metrics import relative_bias
from hspi_learn.visual import method_label

Cell = str | float
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


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
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}" if abs(cell) >= 1 else f"{cell:.3f}"


def _unknown(cell: Cell) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + " \\\\\n"


def headline_table(outcome: ReconstructionOutcome, numbers: dict[str, float]) -> Table:
    """A row for each method: NRMSE, NRMSE over tumour voxels, slope, and NRMSE under each attack."""
    columns = ["Method", "NRMSE median", "mean", "worst", "tumours only", "slope"]
    columns += [f"median, {kind}" for kind in outcome.attacks]
    rows: list[tuple[Cell, ...]] = []
    for method in outcome.methods:
        keys = [
            f"test/{name}/{method}"
            for name in ("nrmse", "nrmse_mean", "nrmse_worst", "nrmse_tumour", "slope")
        ]
        keys += [f"test/nrmse/{method}_{kind}" for kind in outcome.attacks]
        rows.append((method_label(method), *(numbers.get(key, math.nan) for key in keys)))
    caption = (
        f"NRMSE over {len(outcome.truths)} unseen mice: mean over activity maps of ||x - t|| / ||t||, in the "
        "body where sensitivity is 10 % of its maximum or more. Tumours only: median over mice. Slope: "
        "regional means, each mouse divided by the mean of its true organ means, least squares with "
        "intercept; 1 is ideal but does not exclude a constant bias."
    )
    return Table("methods", caption, tuple(columns), tuple(rows))


def counts_table(outcome: Outcome) -> Table:
    """NRMSE of each method at each count level, medians over mice."""
    rows: list[tuple[Cell, ...]] = []
    for fraction in outcome.fractions:
        by_method = outcome.scores[Condition(fraction)]
        counts = float(next(iter(by_method.values())).counts.quantile(0.5))
        errors = (float(by_method[m].scan_nrmse.nanquantile(0.5)) for m in outcome.methods)
        rows.append((f"{fraction:g}", counts, *errors))
    columns = ("Share of counts", "counts (median)", *(method_label(m) for m in outcome.methods))
    return Table(
        "counts", "Median NRMSE over mice against counts (binomially thinned scans).", columns, tuple(rows)
    )


def bias_table(outcome: ReconstructionOutcome, groups: Sequence[str], organs: Sequence[str]) -> Table:
    """Relative bias of the mean of each organ, map and method: median over mice, and the SD between mice.

    Args:
        outcome: outcome of the study.
        groups: names of the activity maps.
        organs: names of the labels.
    """
    rows: list[tuple[Cell, ...]] = []
    truth = outcome.truth_regions
    for o, organ in enumerate(organs):
        for m, group in enumerate(groups):
            if not bool((truth[:, m, o] > 0).any()):
                continue
            row: list[Cell] = [organ, group, float(truth[:, m, o].nanquantile(0.5))]
            for method in outcome.methods:
                bias = relative_bias(outcome.scores[FULL][method].regions[:, m, o], truth[:, m, o])
                known = bias[torch.isfinite(bias)]
                row += [float(known.quantile(0.5)), float(known.std(unbiased=False))]
            rows.append(tuple(row))
    named = [(f"{method_label(m)} bias", f"{method_label(m)} SD") for m in outcome.methods]
    columns = ("Organ", "map", "true Bq/mL", *(name for pair in named for name in pair))
    caption = (
        "Relative bias of regional means, median over mice, and its SD between mice, both as fractions of "
        "the true mean. Means are over voxels with 10 % or more of the maximum sensitivity."
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
                    rows.append((str(mouse), *about, condition.kind, *shares, method, group, *cells))
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
        shown_to = [outcome.scores[FULL][method].of_first(mice), *(found[method] for found in by_attack)]
        rows.append((method_label(method), *(float(s.scan_nrmse.nanquantile(0.5)) for s in shown_to)))
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
                rows.append((str(sample), condition.kind, method, clean, value, *flags))
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
