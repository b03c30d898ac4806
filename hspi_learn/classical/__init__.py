"""Reconstruction without training: OSEM on histograms or events, its tuning, and the mean image."""

from hspi_learn.classical.mean_image import MeanImage
from hspi_learn.classical.osem import Osem
from hspi_learn.classical.postfilter import gaussian_smoothed
from hspi_learn.classical.tuning import Tuning, tune

__all__ = ["MeanImage", "Osem", "Tuning", "gaussian_smoothed", "tune"]
