"""The mean of the training truths (Bq per voxel), scaled to a scan's counts: a baseline that ignores the
image.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.reconstructor import ScanBatch, ScanContext


class MeanImage(nn.Module):
    """One image for every scan, scaled so that the model expects the scan's counts.

    Args:
        model: the forward model of the projections.
        mean_activity: [map, z, y, x], in any unit.
    """

    mean_activity: Tensor

    def __init__(self, model: HyperspectralForwardModel, mean_activity: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean_activity", mean_activity)

    @classmethod
    def of(cls, model: HyperspectralForwardModel, scans: Iterable[ScanBatch]) -> MeanImage:
        """From the truths of training scans, each first scaled to 1 Bq in all.

        Raises:
            UserError: there is no scan.
        """
        total, count = torch.zeros(()), 0
        for batch in scans:
            whole = batch.activity.sum(dim=(1, 2, 3, 4), keepdim=True)
            total = total + (batch.activity / whole.clamp_min(torch.finfo(whole.dtype).tiny)).sum(0)
            count += len(batch.activity)
        if count == 0:
            raise UserError("mean image got no training scans; it needs at least one")
        return cls(model, total / count)

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel from counts [batch, pixel, window]."""
        image = context.body * self.mean_activity.to(projections.dtype)
        counts_per_s = self.model.sensitivity(context.attenuation) * image
        background = self.model.background_rate().sum()
        net = projections.sum(dim=(1, 2)) / context.duration_s - background
        scale = net.clamp_min(0.0) / counts_per_s.sum(dim=(1, 2, 3, 4)).clamp_min(
            torch.finfo(image.dtype).tiny
        )
        return scale[:, None, None, None, None] * image
