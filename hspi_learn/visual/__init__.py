"""Figures for reports, papers and dashboards. Each returns a matplotlib Figure and shows nothing."""

from hspi_learn.visual.comparisons import (
    ErrorCurve,
    Tradeoff,
    bias_variance_figure,
    error_figure,
    mice_figure,
    recovery_figure,
    tumour_figure,
)
from hspi_learn.visual.panels import confusion_figure, panel_figure
from hspi_learn.visual.spectra import LineLabel, spectrum_figure
from hspi_learn.visual.style import data_uri, method_colour, method_label, png_bytes, save_figure
from hspi_learn.visual.volumes import contour_figure, profile_figure, reconstruction_figure

__all__ = [
    "ErrorCurve",
    "LineLabel",
    "Tradeoff",
    "bias_variance_figure",
    "confusion_figure",
    "contour_figure",
    "data_uri",
    "error_figure",
    "method_colour",
    "method_label",
    "mice_figure",
    "panel_figure",
    "png_bytes",
    "profile_figure",
    "reconstruction_figure",
    "recovery_figure",
    "save_figure",
    "spectrum_figure",
    "tumour_figure",
]
