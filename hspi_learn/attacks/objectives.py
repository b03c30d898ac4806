"""Objectives of attacks: one number per sample, from the prediction of an attacked input, that the attack
maximises.

The error of the task (NRMSE for reconstructions), the activity of a region in Bq, or its relative error.
Regions are organs of the phantom's labels (``data_gen.phantoms.ORGANS``) and hold no voxel in a sample that
lacks them: the objective is then 0 whatever the prediction, no gradient reaches the input, and an attack by
gradients flags the sample as masked (:class:`hspi_learn.attacks.Attacked`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.phantoms import ORGANS
from hspi_learn.metrics.nrmse import scan_nrmse
from hspi_learn.reconstructor import ScanBatch

OnPrediction = Callable[[Tensor], Tensor]
"""Prediction [batch, ...] to [batch]; number i of the result depends on sample i alone."""


class Objective(Protocol):
    """What an adversary is after, for any batch."""

    def on(self, batch: Any, error: OnPrediction) -> OnPrediction:
        """What is to be large for the samples of a batch.

        Args:
            batch: the samples, truth included.
            error: how wrong a prediction of them is, by the task's own measure.

        Raises:
            UserError: the batch lacks what the objective is about.
        """


@dataclass(frozen=True)
class TaskError:
    """The error of the prediction by the task's own measure."""

    def on(self, batch: Any, error: OnPrediction) -> OnPrediction:  # noqa: ARG002
        """See :class:`Objective`."""
        return error


@dataclass(frozen=True)
class HideRegion:
    """Less activity in a region: a tumour that is there is hidden. 0 without the region.

    Args:
        organ: name of the region.
        map: number of the activity map, from 0; None for the sum of all.
    """

    organ: str = "tumour"
    map: int | None = None

    def on(self, batch: ScanBatch, error: OnPrediction) -> OnPrediction:  # noqa: ARG002
        """See :class:`Objective`: minus the activity in the region, in Bq."""
        return RegionalActivity(region_of(batch, self.organ), self.map, sign=-1)


@dataclass(frozen=True)
class InventRegion:
    """More activity in a ball about the middle of an organ: a tumour is invented. 0 without the organ.

    Args:
        organ: name of the organ.
        radius_voxels: radius of the ball about the organ's voxel nearest to its centre of mass, in voxels
            along each axis: in mm it is an ellipsoid where voxels are no cubes.
        map: number of the activity map, from 0; None for the sum of all.

    Raises:
        UserError: the radius is negative.
    """

    organ: str = "liver"
    radius_voxels: float = 1.5
    map: int | None = None

    def __post_init__(self) -> None:
        if not self.radius_voxels >= 0:
            raise UserError(f"objective.radius_voxels is {self.radius_voxels}; it needs 0 or more")

    def on(self, batch: ScanBatch, error: OnPrediction) -> OnPrediction:  # noqa: ARG002
        """See :class:`Objective`: the activity in the ball, in Bq."""
        organ = region_of(batch, self.organ)
        balls = torch.stack([_ball_inside(scan, self.radius_voxels) for scan in organ])
        return RegionalActivity(balls, self.map)


@dataclass(frozen=True)
class UptakeError:
    """A wrong uptake of a region, too high or too low: a tumour is quantified wrongly. 0 without the region.

    Args:
        organ: name of the region.
        map: number of the activity map, from 0; None for the sum of all.
    """

    organ: str = "tumour"
    map: int | None = None

    def on(self, batch: ScanBatch, error: OnPrediction) -> OnPrediction:  # noqa: ARG002
        """See :class:`Objective`: |estimate - truth| / truth of the region's activity; 0 without one."""
        inside = RegionalActivity(region_of(batch, self.organ), self.map)
        truth = inside(batch.activity)

        def relative_error(activity: Tensor) -> Tensor:
            known = torch.where(truth > 0, truth, 1.0)
            return torch.where(truth > 0, (inside(activity) - truth).abs() / known, 0.0)

        return relative_error


@dataclass(frozen=True)
class ImageError:
    """NRMSE against the truth, as the evaluation computes it (hspi_learn/metrics/nrmse.py).

    The mean over the maps that hold activity of ||x - t|| / ||t|| over the voxels of the mask, x the estimate
    and t the truth; NaN for a scan in which no map holds any.

    Args:
        truth: [batch, map, z, y, x] in Bq per voxel.
        mask: voxels that count, [batch, 1 or map, z, y, x]; None for all.
    """

    truth: Tensor
    mask: Tensor | None = None

    def __call__(self, activity: Tensor) -> Tensor:
        """Error of each scan [batch], from [batch, map, z, y, x] in Bq per voxel."""
        return scan_nrmse(activity, self.truth, self.mask)


@dataclass(frozen=True)
class RegionalActivity:
    """Activity in a region, in Bq, as it is or (``sign`` -1) negative.

    Args:
        region: [batch, z, y, x]; bool, or the share of each voxel that belongs.
        map: number of the map, from 0; None for the sum of all.
        sign: +1 or -1.
    """

    region: Tensor
    map: int | None = None
    sign: int = 1

    def __call__(self, activity: Tensor) -> Tensor:
        """Signed activity of each scan [batch], from [batch, map, z, y, x] in Bq per voxel.

        Raises:
            UserError: the prediction is no activity, or holds no such map.
        """
        if activity.ndim != 5:
            raise UserError(
                "objective is about the activity of a region, but a prediction is "
                f"{list(activity.shape)}, not [batch, map, z, y, x]; use objective=error"
            )
        if self.map is None:
            wanted = activity.sum(dim=1)
        elif 0 <= self.map < activity.shape[1]:
            wanted = activity[:, self.map]
        else:
            last = activity.shape[1] - 1
            raise UserError(f"objective.map is {self.map}; it needs a number from 0 to {last}")
        return self.sign * (self.region.to(activity.dtype) * wanted).sum(dim=(1, 2, 3))


def region_of(batch: Any, organ: str) -> Tensor:
    """Voxels of an organ [batch, z, y, x], bool.

    Raises:
        UserError: no organ has that name, or the batch is none of scans with labels.
    """
    if organ not in ORGANS:
        raise UserError(f"objective.organ is {organ!r}; it needs one of {', '.join(ORGANS)}")
    if not isinstance(batch, ScanBatch):
        raise UserError(
            f"objective is about the {organ} of scans, but a batch is a {type(batch).__name__}; "
            "use objective=error"
        )
    return batch.labels == ORGANS.index(organ)


def _ball_inside(organ: Tensor, radius: float) -> Tensor:
    """A ball about the voxel of an organ [z, y, x] nearest to its centre of mass; empty without organ."""
    voxels = organ.nonzero().double()
    if not len(voxels):
        return torch.zeros_like(organ)
    middle = voxels[(voxels - voxels.mean(0)).square().sum(1).argmin()]
    place = torch.stack(torch.meshgrid(*(torch.arange(n) for n in organ.shape), indexing="ij"), dim=-1)
    return ((place.to(middle) - middle).square().sum(-1) <= radius**2).to(organ.device)
