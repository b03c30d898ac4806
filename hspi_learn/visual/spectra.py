"""Recorded energy spectra (counts per keV over keV), with labels of the photon lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hspi_learn.visual.style import paper_figure

_MOST_LABELS = 12
"""Labels in one spectrum; chosen so that they fit the figure's width, no source."""
_LABEL_GAP_KEV = 18.0
"""Least distance between two labels, about the height of their upright text; chosen, no source."""
_LABEL_FOOT_KEV = 3.0
"""A label stands above the highest bin within this distance of its line; chosen, no source."""


class LineLabel(NamedTuple):
    """A photon line and the text that labels it in a spectrum."""

    energy_kev: float
    text: str
    strength: float
    """Photons per decay of the head; the stronger of two crowded labels stays."""


def spectrum_figure(
    edges_kev: NDArray[np.floating[Any]],
    counts: NDArray[np.floating[Any]],
    expected: NDArray[np.floating[Any]] | None = None,
    lines: Sequence[LineLabel] = (),
    windows_kev: Sequence[float] = (),
    title: str = "",
) -> Figure:
    """Recorded counts per keV, the expected spectrum over it, and labelled lines.

    Args:
        edges_kev: edges of the energy bins [bin + 1], keV.
        counts: recorded counts [bin].
        expected: forward model of the true activity, background included, in counts [bin].
        lines: the strongest are labelled, at most 12, 18 keV or more apart.
        windows_kev: boundaries of the energy windows that the methods are given, as thin marks.
        title: above the figure.
    """
    width = np.diff(edges_kev)
    with paper_figure(7.2, 3.2) as figure:
        axis = figure.subplots()
        axis.stairs(counts / width, edges_kev, fill=True, color="#BFD7EA", label="recorded")
        if expected is not None:
            label = "forward model of true activity"
            axis.stairs(expected / width, edges_kev, color="#B3400E", linewidth=1.1, label=label)
        highest = (
            float(np.max(counts / width if expected is None else np.maximum(counts, expected) / width)) or 1.0
        )
        axis.set_ylim(0, 1.5 * highest)
        axis.set_xlim(edges_kev[0], edges_kev[-1])
        for boundary in windows_kev:
            axis.axvline(boundary, ymax=0.03, color="#404040", linewidth=1.2)
        _label(
            axis,
            lines,
            edges_kev,
            counts / width if expected is None else np.maximum(counts, expected) / width,
        )
        axis.set_xlabel(
            "Energy (keV); ticks on the axis mark the windows" if len(windows_kev) else "Energy (keV)"
        )
        axis.set_ylabel("Counts per keV")
        axis.legend(loc="upper right")
        if title:
            axis.set_title(title)
    return figure


def _label(axis: Axes, lines: Sequence[LineLabel], edges_kev: Any, height: Any) -> None:
    """Label the strongest lines that do not crowd one another, above a spectrum of ``height`` [bin]."""
    chosen: list[LineLabel] = []
    for line in sorted(lines, key=lambda item: -item.strength):
        inside = edges_kev[0] < line.energy_kev < edges_kev[-1]
        if inside and all(abs(line.energy_kev - other.energy_kev) >= _LABEL_GAP_KEV for other in chosen):
            chosen.append(line)
    top = axis.get_ylim()[1]
    for line in chosen[:_MOST_LABELS]:
        near = np.abs((edges_kev[:-1] + edges_kev[1:]) / 2 - line.energy_kev) < _LABEL_FOOT_KEV
        foot = float(height[near].max()) if near.any() else 0.0
        axis.annotate(
            line.text,
            (line.energy_kev, foot + 0.01 * top),
            (line.energy_kev, foot + 0.06 * top),
            rotation=90,
            ha="center",
            va="bottom",
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#707070"},
        )
