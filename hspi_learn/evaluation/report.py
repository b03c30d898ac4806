"""The HTML report of an evaluation: one page with its plots inside, which needs no other file or address."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import jinja2

from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.study import CLEAN, Outcome
from hspi_learn.evaluation.tables import Table, shown
from hspi_learn.io.atomic import write_text
from hspi_learn.visual import data_uri, method_label, save_figure

LEAST_SCANS = 8
"""No verdict on two methods is given from fewer scans; chosen, no source."""

PIXELS_PER_INCH = 125
"""Width of figures on the page: the same for all, so that their text has one size."""

_WORDS = {"nrmse": "NRMSE", "tumour_error": "tumour error"}
"""Scores of mice, and what they are called; scores of other tasks have their own names."""


def findings(
    outcome: Outcome,
    numbers: Mapping[str, float],
    scores: Sequence[str],
    higher_is_better: Collection[str] = (),
    left_out: Sequence[str] = (),
) -> list[str]:
    """What may be said of the methods, a sentence each: which failed, and of each pair which is better.

    Args:
        outcome: what the study found.
        numbers: its numbers, differences among them.
        scores: names of the scores by which methods are compared, in this order.
        higher_is_better: those of which the highest value is best.
        left_out: methods that are not compared.
    """
    ranked = [m for m in outcome.competing if m not in left_out]
    pairs = (
        verdict(numbers, a, b, score, score in higher_is_better)
        for score in scores
        for a, b in combinations(ranked, 2)
    )
    samples = "mice" if any(score in _WORDS for score in scores) else "samples"
    return [*failures(outcome, samples), *filter(None, dict.fromkeys(pairs))]


def failures(outcome: Outcome, samples: str) -> list[str]:
    """Each method that gave NaN or infinite values, with the condition and the samples."""
    told = []
    for condition, by_method in outcome.failed.items():
        for method, failed in by_method.items():
            numbers = outcome.failures(condition, method)
            if numbers:
                shown_as = "" if condition.kind == CLEAN else f", {condition.kind},"
                share = "" if condition.fraction == 1 else f" at {condition.fraction:g} of the counts"
                which = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
                told.append(
                    f"{method_label(method)}{shown_as} failed on {len(numbers)} of {len(failed)} {samples}"
                    f"{share} (NaN or infinite values; number {which}) and is not ranked."
                )
    return told


def verdict(
    numbers: Mapping[str, float],
    first: str,
    second: str,
    score: str = "nrmse",
    higher_is_better: bool = False,
) -> str:
    """What may be said of two methods: one is better only where the interval of the difference excludes 0.

    From fewer than :data:`LEAST_SCANS` scans nothing is said but that.
    """
    key = f"test/{score}_difference/{first}_minus_{second}"
    if key not in numbers:
        return ""
    over, word = "mice" if score in _WORDS else "samples", _WORDS.get(score, score)
    scans = int(numbers[f"{key}/scans"])
    if scans < LEAST_SCANS:
        compared = f"{scans} {over} were compared, which are too few"
        return f"No verdict on {word}: {compared}; it needs {LEAST_SCANS} or more."
    value, low, high = numbers[key], numbers[f"{key}/low"], numbers[f"{key}/high"]
    pair = f"{method_label(first)} and {method_label(second)}"
    interval = f"mean difference in {word} {value:+.2g}, 95 % interval over {over} {low:+.2g} to {high:+.2g}"
    if low <= 0 <= high:
        return f"No difference between {pair} is shown: {interval}."
    less, more = (first, second) if high < 0 else (second, first)
    if higher_is_better:
        return f"{method_label(more)} has the higher {word} than {method_label(less)}: {interval}."
    return f"{method_label(less)} has the lower {word} than {method_label(more)}: {interval}."


def write_report(
    path: Path,
    title: str,
    statements: Sequence[str],
    facts: Mapping[str, str],
    tables: Sequence[Table],
    pages: Mapping[str, CaptionedFigure],
) -> Path:
    """Write the figures beside ``path`` and the page itself, whole or not at all.

    Args:
        path: path of the page; figures go to ``figures/NAME.png`` in its folder.
        title: title of the page.
        statements: what was found, a sentence each.
        facts: what was compared on what, as name and value.
        tables: shown in this order.
        pages: plots with their captions, by file name.
    """
    images = {}
    for name, page in pages.items():
        saved = save_figure(page.figure, path.parent / "figures" / f"{name}.png")
        width = round(PIXELS_PER_INCH * page.figure.get_figwidth())
        images[name] = (data_uri(saved.read_bytes()), page.caption, width)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hspi_learn.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shown"] = shown
    html = environment.get_template("report.html.j2").render(
        title=title, statements=[s for s in statements if s], facts=facts, tables=tables, images=images
    )
    write_text(path, html)
    return path
