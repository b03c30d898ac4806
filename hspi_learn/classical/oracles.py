"""Methods that are told the true outlines of a scan, as images in Bq per voxel: what others might reach.

They are no competitors of reconstructions, which know no outlines. Each tumour is a region of its own, and
what lies in no organ holds nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.classical.regional_ml import RegionalLikelihood
from hspi_learn.metrics import regional_means, regions_with_single_lesions
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext

TUMOUR = ORGANS.index("tumour")


class Oracle(Protocol):
    """What reconstructs scans once it is told the truth of them."""

    def told(self, scans: ScanBatch) -> Reconstructor:
        """The method for these scans alone, with any counts and any time, in their order.

        Its images have no gradient in the counts.
        """


class OrganOracle:
    """The true mean of every organ and tumour, whatever the counts: the best that even regions can be.

    Args:
        model: the forward model, which it does not need.
        tumour: label of tumours.
    """

    def __init__(self, model: HyperspectralForwardModel, tumour: int = TUMOUR) -> None:
        self.model, self.tumour = model, tumour

    def told(self, scans: ScanBatch) -> Reconstructor:
        """See :class:`Oracle`."""
        regions = true_regions(scans.labels, self.tumour)
        means = regional_means(scans.activity, regions, int(regions.max()) + 1)
        means[..., 0] = 0.0
        index = regions.flatten(1)[:, None].expand(-1, means.shape[1], -1)
        return _KnownImage(means.gather(2, index).reshape(scans.activity.shape))


class RegionalMl:
    """Maximum likelihood of the activity of every organ and tumour in the true outlines, from the counts.

    Where the maximum is not reached the image is NaN. See
    :class:`~hspi_learn.classical.regional_ml.RegionalLikelihood`.

    Args:
        model: the forward model, with the energy windows of the scans.
        tumour: label of tumours.
    """

    def __init__(self, model: HyperspectralForwardModel, tumour: int = TUMOUR) -> None:
        self.model, self.tumour = model, tumour

    def told(self, scans: ScanBatch) -> Reconstructor:
        """See :class:`Oracle`."""
        return _RegionalMlOfScans(self.model, scans.density, true_regions(scans.labels, self.tumour))


class _KnownImage:
    """One image of each scan, whatever the counts."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:  # noqa: ARG002
        return self.image.to(projections)


class _RegionalMlOfScans:
    """Regional maximum likelihood in the outlines of these scans."""

    def __init__(self, model: HyperspectralForwardModel, density: Tensor, regions: Tensor) -> None:
        self.model, self.density, self.regions = model, density, regions

    @cached_property
    def likelihoods(self) -> list[RegionalLikelihood]:
        """Of each scan; its regions are projected once."""
        scans = zip(self.density, self.regions, strict=True)
        return [RegionalLikelihood(self.model, density, regions) for density, regions in scans]

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        images = []
        for likelihood, counts, duration_s in zip(
            self.likelihoods, projections, context.duration_s.tolist(), strict=True
        ):
            found = likelihood.estimate(counts, duration_s, level=None)
            image = likelihood.image(found)
            images.append(image if found.converged else torch.full_like(image, torch.nan))
        return torch.stack(images).to(projections)


def true_regions(labels: Tensor, tumour: int = TUMOUR) -> Tensor:
    """Region of each voxel [batch, z, y, x]: its organ, each tumour by itself, 0 outside of all."""
    return regions_with_single_lesions(labels, (labels == tumour)[:, None], len(ORGANS))
