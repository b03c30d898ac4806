"""Without a network: OSEM and MAP on histograms or events, their tuning, likelihoods of regional activity.

Learnt from training scans: kernel ridge regression, the mean image. Told the true outlines: oracles. Behind
any method: a filter that sharpens to the spectrum of truths.
"""

from hspi_learn.classical.coarse_osem import CoarseOsem
from hspi_learn.classical.kernel_ridge import KernelRidge
from hspi_learn.classical.lesion_activity import found_lesions, lesion_likelihood
from hspi_learn.classical.map_anatomical import MapAnatomical
from hspi_learn.classical.map_rdp import MapRdp
from hspi_learn.classical.mean_image import MeanImage
from hspi_learn.classical.oracles import Oracle, OrganOracle, RegionalMl
from hspi_learn.classical.ordered_subsets import OrderedSubsets
from hspi_learn.classical.osem import Osem
from hspi_learn.classical.panel_filter import PanelFilter, smoothed_on_panels, tuned_panel_filter
from hspi_learn.classical.postfilter import gaussian_smoothed
from hspi_learn.classical.principal_projections import PrincipalProjections
from hspi_learn.classical.regional_ml import RegionalEstimates, RegionalLikelihood
from hspi_learn.classical.sharpened import Sharpened
from hspi_learn.classical.tunable import Tunable
from hspi_learn.classical.tuning import Tuning, tune

__all__ = [
    "CoarseOsem",
    "KernelRidge",
    "MapAnatomical",
    "MapRdp",
    "MeanImage",
    "Oracle",
    "OrderedSubsets",
    "OrganOracle",
    "Osem",
    "PanelFilter",
    "PrincipalProjections",
    "RegionalEstimates",
    "RegionalLikelihood",
    "RegionalMl",
    "Sharpened",
    "Tunable",
    "Tuning",
    "found_lesions",
    "gaussian_smoothed",
    "lesion_likelihood",
    "smoothed_on_panels",
    "tune",
    "tuned_panel_filter",
]
