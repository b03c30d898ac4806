"""Style of all plots: fonts, colour and label of each method, and saving."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_gen.core.files import whole_file

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
_COLOURS = {
    "truth": "#000000",
    "gan": "#D55E00",
    "control": "#0072B2",
    "control_sharpened": "#004C77",
    "osem": "#009E73",
    "map_rdp": "#E69F00",
    "map_anatomical": "#CC79A7",
    "kernel_ridge": "#56B4E9",
    "mean_image": "#8C8C8C",
}
_SPARE = ("#A6761D", "#7F3C8D", "#4B4B4B")
_LABELS = {
    "truth": "Truth",
    "gan": "GAN",
    "control": "No adversary",
    "control_sharpened": "No adversary, sharpened",
    "osem": "OSEM",
    "map_rdp": "MAP",
    "map_anatomical": "Anatomical MAP",
    "kernel_ridge": "Kernel ridge",
    "mean_image": "Training mean",
    "prediction": "Prediction",
    "organ_oracle": "True organ means",
    "regional_ml": "Regional ML",
}
FONT_SIZE = 8.0
"""Of all text in all figures, in points."""

_TEXTS = (
    "font.size",
    "axes.titlesize",
    "axes.labelsize",
    "figure.titlesize",
    "figure.labelsize",
    "legend.fontsize",
    "legend.title_fontsize",
    "xtick.labelsize",
    "ytick.labelsize",
)
# matplotlib types the keys of a style one by one, and differently in every release.
_STYLE: Any = {
    **dict.fromkeys(_TEXTS, FONT_SIZE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
}


def method_colour(name: str) -> str:
    """The colour of a method in every figure; a name that we do not know gets a spare one of its own."""
    return _COLOURS.get(name) or _SPARE[sum(name.encode()) % len(_SPARE)]


def method_label(name: str) -> str:
    """How a method is written in figures and tables."""
    return _LABELS.get(name, name.replace("_", " "))


@contextmanager
def paper_figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure in our style; drawing belongs inside the ``with``, where the style holds."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save_figure(figure: Figure, path: Path, dots_per_inch: int = 200) -> Path:
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(png_bytes(figure, dots_per_inch))
    return path


def png_bytes(figure: Figure, dots_per_inch: int = 200) -> bytes:
    """The figure as a PNG file in memory."""
    buffer = io.BytesIO()
    # Ticks are made, and take their font, when the figure is drawn.
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG as an address that an HTML page can hold within itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
