"""How good images and contours are: error, bias, contrast, lesions, texture, Dice, and how sure that is."""

from hspi_learn.metrics.contours import (
    BINS_MM3,
    LesionMatch,
    dice,
    lesion_scores,
    matched_lesions,
    surface_distance_mm,
    uptake_error,
)
from hspi_learn.metrics.contrast import ContrastToNoise, contrast_to_noise, grown, surroundings
from hspi_learn.metrics.frechet import frechet_distance
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
from hspi_learn.metrics.power_spectrum import (
    high_frequency_share,
    radial_frequency,
    radial_power,
    shell_of_modes,
    total_variation,
)
from hspi_learn.metrics.projection_error import count_weighted, projection_nrmse
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
    "BINS_MM3",
    "BiasAndSpread",
    "ContrastToNoise",
    "Interval",
    "LesionMatch",
    "Nrmse",
    "Reduction",
    "RegionalBias",
    "UptakeDependence",
    "background_peaks",
    "bias_and_spread",
    "contrast_to_noise",
    "count_weighted",
    "dice",
    "evaluated_voxels",
    "failed_samples",
    "false_lesions",
    "frechet_distance",
    "grown",
    "high_frequency_share",
    "lesion_peaks",
    "lesion_scores",
    "matched_lesions",
    "mean_interval",
    "nrmse",
    "paired_interval",
    "projection_nrmse",
    "radial_frequency",
    "radial_power",
    "reduce_scans",
    "regional_means",
    "regions_with_single_lesions",
    "relative_bias",
    "scan_nrmse",
    "separate_lesions",
    "shell_of_modes",
    "surface_distance_mm",
    "surroundings",
    "total_variation",
    "uptake_dependence",
    "uptake_error",
    "voxel_auc",
]
