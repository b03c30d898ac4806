"""Reconstruction without training: OSEM and MAP on histograms or events, tuning.

Learnt from training scans, without a network: kernel ridge regression, the mean image.
"""

from hspi_learn.classical.kernel_ridge import KernelRidge
from hspi_learn.classical.map_anatomical import MapAnatomical
from hspi_learn.classical.map_rdp import MapRdp
from hspi_learn.classical.mean_image import MeanImage
from hspi_learn.classical.ordered_subsets import OrderedSubsets
from hspi_learn.classical.osem import Osem
from hspi_learn.classical.postfilter import gaussian_smoothed
from hspi_learn.classical.tunable import Tunable
from hspi_learn.classical.tuning import Tuning, tune

__all__ = [
    "KernelRidge",
    "MapAnatomical",
    "MapRdp",
    "MeanImage",
    "OrderedSubsets",
    "Osem",
    "Tunable",
    "Tuning",
    "gaussian_smoothed",
    "tune",
]
