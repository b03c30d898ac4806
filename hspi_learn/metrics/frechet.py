"""Frechet distance between two samples of images, from features of each: do they look as if drawn alike?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance


def frechet_distance(estimates: Tensor, truths: Tensor) -> float:
    """The squared distance |m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2)) of Gaussians fitted to two samples.

    It is never 0 for finite samples, and falls with their size: hold it against that of other truths, of as
    many. Source: Heusel et al., NeurIPS 2017 (FID); computed by torchmetrics.

    Args:
        estimates: features [sample, feature].
        truths: features [sample, feature], of another number of samples.

    Returns:
        Infinite where a feature is NaN or infinite; NaN from fewer than two samples of either.
    """
    if not bool(torch.isfinite(estimates).all()):
        return torch.inf
    if len(estimates) < 2 or len(truths) < 2:
        return torch.nan
    distance = FrechetInceptionDistance(feature=_AsTheyAre(truths.shape[1])).set_dtype(torch.float64)
    distance.update(truths.double(), real=True)
    distance.update(estimates.double(), real=False)
    return float(distance.compute())


class _AsTheyAre(nn.Module):
    """Hands features on, in the place of the network that makes them from images."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features
