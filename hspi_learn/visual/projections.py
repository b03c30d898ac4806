"""Pictures of a panel of the camera, side by side: what is expected, what was counted, what was estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hspi_learn.visual.style import method_label, paper_figure

Image = NDArray[np.floating[Any]]


def projection_figure(images: Mapping[str, Image], pitch_mm: float, title: str = "") -> Figure:
    """Images of one panel side by side, with one colour scale in counts a pixel.

    Args:
        images: name to counts [row, column], all of one shape; the first is the truth and sets the scale.
        pitch_mm: edge of a pixel.
        title: above the figure.
    """
    top = float(next(iter(images.values())).max()) or 1.0
    rows, columns = next(iter(images.values())).shape
    extent = (-columns * pitch_mm / 2, columns * pitch_mm / 2, -rows * pitch_mm / 2, rows * pitch_mm / 2)
    with paper_figure(1.2 + 1.8 * len(images), 2.4) as figure:
        axes = figure.subplots(1, len(images), squeeze=False)[0]
        for axis, (name, image) in zip(axes, images.items(), strict=True):
            shown = axis.imshow(image, cmap="inferno", vmin=0, vmax=top, origin="lower", extent=extent)
            axis.set_title(method_label(name))
            axis.grid(False)
            axis.tick_params(labelleft=axis is axes[0])
        axes[0].set_xlabel("column (mm)")
        axes[0].set_ylabel("row (mm)")
        label = "Counts a pixel, all windows"
        figure.colorbar(shown, ax=axes.tolist(), label=label, fraction=0.03, pad=0.02, extend="max")
        if title:
            figure.suptitle(title)
    return figure
