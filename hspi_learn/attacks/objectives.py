"""What an adversary wants to be large: one number per scan, from the reconstructed activity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hspi_learn.metrics.nrmse import scan_nrmse

Objective = Callable[[Tensor], Tensor]
"""Activity [batch, map, z, y, x] to [batch]; scan i of the result depends on scan i alone."""


@dataclass(frozen=True)
class ImageError:
    """NRMSE against the truth, the evaluation's own figure.

    Args:
        truth: [batch, map, z, y, x] in Bq per voxel.
        mask: voxels that count, [batch, 1 or map, z, y, x]; None for all.
    """

    truth: Tensor
    mask: Tensor | None = None

    def __call__(self, activity: Tensor) -> Tensor:
        """Error of each scan."""
        return scan_nrmse(activity, self.truth, self.mask)


@dataclass(frozen=True)
class RegionalActivity:
    """Activity of one map in a region, in Bq, pushed up or (``sign`` -1) down: a lesion hidden, or invented.

    Args:
        region: [batch, z, y, x]; bool, or the share of each voxel that belongs.
        group: number of the map.
        sign: +1 or -1.
    """

    region: Tensor
    group: int
    sign: int = 1

    def __call__(self, activity: Tensor) -> Tensor:
        """Signed activity of each scan."""
        inside = self.region.to(activity.dtype) * activity[:, self.group]
        return self.sign * inside.sum(dim=(1, 2, 3))
