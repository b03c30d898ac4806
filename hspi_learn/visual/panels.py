"""Panel images of a scan, and confusion matrices of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hspi_learn.visual.style import paper_figure


def panel_figure(counts: NDArray[np.floating[Any]], title: str = "") -> Figure:
    """Images of all panels side by side, in one colour scale.

    Args:
        counts: [panel, row, column], in counts; rows rise upwards.
        title: above the figure.
    """
    panels = len(counts)
    across = min(panels, 6)
    down = -(-panels // across)
    with paper_figure(7.2, 1.4 * down + 0.4) as figure:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        highest = max(float(counts.max()), 1.0)
        for number, axis in enumerate(axes):
            axis.set_axis_off()
            if number < panels:
                image = axis.imshow(counts[number], vmin=0, vmax=highest, cmap="inferno", origin="lower")
                axis.set_title(f"panel {number}")
        figure.colorbar(image, ax=list(axes), label="counts")
        figure.suptitle(title)
    return figure


def confusion_figure(matrix: NDArray[np.integer[Any]], names: Sequence[str], title: str = "") -> Figure:
    """Numbers of samples by true and predicted class, shaded by the share of the true class.

    Args:
        matrix: [true class, predicted class], numbers of samples.
        names: of the classes.
        title: above the figure.
    """
    words = [name.replace("_", " ") for name in names]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    edge = 1.4 + 0.65 * len(names)
    with paper_figure(edge + 0.4, edge) as figure:
        axis = figure.subplots()
        axis.grid(visible=False)
        axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axis.set_xticks(range(len(words)), words, rotation=30, ha="right")
        axis.set_yticks(range(len(words)), words)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        for (row, column), number in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axis.text(column, row, str(int(number)), ha="center", va="center", color=colour)
        axis.set_title(title)
    return figure
