"""How good a reconstruction is: error, bias, contrast, and how sure a difference is."""

from hspi_learn.metrics.bootstrap import Interval, paired_interval
from hspi_learn.metrics.contrast import ContrastToNoise, contrast_to_noise, surroundings
from hspi_learn.metrics.nrmse import Nrmse, Reduction, evaluated_voxels, nrmse, reduce_scans, scan_nrmse
from hspi_learn.metrics.regions import (
    BiasAndSpread,
    RegionalBias,
    UptakeDependence,
    bias_and_spread,
    regional_means,
    relative_bias,
    uptake_dependence,
)

__all__ = [
    "BiasAndSpread",
    "ContrastToNoise",
    "Interval",
    "Nrmse",
    "Reduction",
    "RegionalBias",
    "UptakeDependence",
    "bias_and_spread",
    "contrast_to_noise",
    "evaluated_voxels",
    "nrmse",
    "paired_interval",
    "reduce_scans",
    "regional_means",
    "relative_bias",
    "scan_nrmse",
    "surroundings",
    "uptake_dependence",
]
