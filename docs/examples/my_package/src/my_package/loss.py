"""A loss for reconstruction: the total activity of each map has to be right."""

from typing import Any

from torch import Tensor

from hspi_learn.losses import Loss
from hspi_learn.reconstructor import ScanBatch


class TotalActivityError(Loss):
    """Relative error of the total activity; ``weight``, ``from_step`` and ``every`` come with ``Loss``."""

    def forward(self, prediction: Tensor, batch: ScanBatch, view: Any) -> Tensor:
        """One number a scan [batch] from activity [batch, map, z, y, x] in Bq per voxel."""
        found_bq, true_bq = (maps.sum(dim=(2, 3, 4)) for maps in (prediction, batch.activity))
        return ((found_bq - true_bq).abs() / true_bq.clamp_min(1)).mean(dim=1)
