"""How good a reconstruction is: error, bias, contrast, lesions, and how sure a difference is."""

from hspi_learn.metrics.contrast import ContrastToNoise, contrast_to_noise, grown, surroundings
from hspi_learn.metrics.intervals import Interval, mean_interval, paired_interval
from hspi_learn.metrics.lesions import (
    background_peaks,
    false_lesions,
    lesion_peaks,
    regions_with_single_lesions,
    separate_lesions,
    voxel_auc,
)
from hspi_learn.metrics.nrmse import Nrmse, evaluated_voxels, nrmse, scan_nrmse
from hspi_learn.metrics.reduction import Reduction, failed_samples, reduce_scans
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
    "background_peaks",
    "bias_and_spread",
    "contrast_to_noise",
    "evaluated_voxels",
    "failed_samples",
    "false_lesions",
    "grown",
    "lesion_peaks",
    "mean_interval",
    "nrmse",
    "paired_interval",
    "reduce_scans",
    "regional_means",
    "regions_with_single_lesions",
    "relative_bias",
    "scan_nrmse",
    "separate_lesions",
    "surroundings",
    "uptake_dependence",
    "voxel_auc",
]
