"""The HTML report of an evaluation: one page with its plots inside, which needs no other file or address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.tables import Table, shown
from hspi_learn.io.atomic import write_text
from hspi_learn.visual import data_uri, method_label, save_figure


def verdict(
    numbers: Mapping[str, float],
    first: str,
    second: str,
    score: str = "nrmse",
    higher_is_better: bool = False,
) -> str:
    """What may be said of two methods: one is better only where the interval of the difference excludes 0."""
    key = f"test/{score}_difference/{first}_minus_{second}"
    if key not in numbers:
        return ""
    value, low, high = numbers[key], numbers[f"{key}/low"], numbers[f"{key}/high"]
    pair = f"{method_label(first)} and {method_label(second)}"
    word = "NRMSE" if score == "nrmse" else score
    over = "mice" if score == "nrmse" else "samples"
    interval = f"mean difference in {word} {value:+.2g}, 95 % interval over {over} {low:+.2g} to {high:+.2g}"
    if low <= 0 <= high:
        return f"No difference between {pair} is shown: {interval}."
    less, more = (first, second) if high < 0 else (second, first)
    if higher_is_better:
        return f"{method_label(more)} has the higher {word} than {method_label(less)}: {interval}."
    error = "error" if score == "nrmse" else word
    return f"{method_label(less)} has the lower {error} than {method_label(more)}: {interval}."


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
        images[name] = (data_uri(saved.read_bytes()), page.caption)
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
