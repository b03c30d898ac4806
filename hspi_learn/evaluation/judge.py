"""From a reconstruction (Bq per voxel) to its metrics by mouse: NRMSE, contrast to noise, regional means
(Bq/mL).

Metrics: ``hspi_learn/metrics``. All but contrast to noise are over body voxels with 10 % or more of the
maximum sensitivity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.data import collate
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.metrics import (
    contrast_to_noise,
    evaluated_voxels,
    nrmse,
    regional_means,
    scan_nrmse,
    surroundings,
)
from hspi_learn.reconstructor import ScanBatch, ScanContext

OUTSIDE = 0
"""The label of what is no organ."""


class Scores(NamedTuple):
    """Metrics of one method for each mouse."""

    nrmse: Tensor
    """NRMSE over the evaluated voxels of the body, [mouse, map]."""
    tumour_nrmse: Tensor
    """NRMSE over the evaluated tumour voxels, [mouse, map]; NaN without a tumour."""
    cnr: Tensor
    """Contrast to noise of the tumours, [mouse, map]."""
    regions: Tensor
    """Mean of each organ's evaluated voxels in Bq/mL, [mouse, map, organ]; NaN where there are none."""
    counts: Tensor
    """Counts of each scan in all energy windows, [mouse]."""

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of several batches as one."""
        return cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def of_first(self, mice: int) -> Scores:
        """The scores of the first so many mice."""
        return Scores(*(column[:mice] for column in self))

    @property
    def scan_nrmse(self) -> Tensor:
        """Mean over maps, [mouse]: what medians over mice are taken of."""
        return self.nrmse.nanmean(dim=1)


class JudgedError:
    """What a classical method is tuned for: NRMSE in the voxels where it will be evaluated.

    The voxels are kept while the scans stay the same, since tuning asks for many images of each.
    """

    def __init__(self, model: HyperspectralForwardModel) -> None:
        self.model = model
        self._kept: tuple[ScanContext, Tensor] | None = None

    def __call__(self, estimate: Tensor, scans: ScanBatch, context: ScanContext) -> Tensor:
        """Error of each scan [batch]."""
        if self._kept is None or self._kept[0] is not context:
            sensitivity = self.model.primary.sensitivity(context.attenuation)
            self._kept = context, evaluated_voxels(sensitivity, context.body)
        return scan_nrmse(estimate, scans.activity, self._kept[1])


@dataclass(frozen=True)
class Judge:
    """Judges every method alike.

    Args:
        organs: names of the labels; the first is what lies outside the body.
        voxel_volume_ml: turns Bq per voxel into Bq/mL.
        tumour: name of the label that is a tumour.
    """

    organs: tuple[str, ...]
    voxel_volume_ml: float
    tumour: str = "tumour"

    @classmethod
    def of(cls, model: HyperspectralForwardModel) -> Judge:
        """For scans of our phantoms on the model's grid."""
        return cls(ORGANS, model.grid.voxel_volume_ml)

    def scores(self, estimate: Tensor, case: ReconstructionCase) -> Scores:
        """Metrics of an estimate [batch, map, z, y, x] in Bq per voxel."""
        truth, mask = case.batch.activity, case.mask
        lesion = self.lesion(case.batch.labels)
        around = surroundings(lesion, case.context.body & ~lesion)
        return Scores(
            nrmse(estimate, truth, mask),
            nrmse(estimate, truth, mask & lesion),
            contrast_to_noise(estimate, lesion, around),
            self.regions(estimate, case),
            case.batch.projections.sum(dim=(1, 2)),
        )

    def lesion(self, labels: Tensor) -> Tensor:
        """Tumour voxels [batch, 1, z, y, x]."""
        if self.tumour not in self.organs:
            return torch.zeros_like(labels, dtype=torch.bool)[:, None]
        return (labels == self.organs.index(self.tumour))[:, None]

    def first_with_tumour(self, scans: Dataset[ScanBatch]) -> ScanBatch:
        """The first scan that has a tumour, as a batch of one; the very first if none has."""
        numbers = range(len(scans))  # type: ignore[arg-type]
        found = (i for i in numbers if bool(self.lesion(scans[i].labels[None]).any()))
        return collate([scans[next(found, 0)]])

    def regions(self, activity: Tensor, case: ReconstructionCase) -> Tensor:
        """Mean concentration of each organ in Bq/mL, [batch, map, organ], over voxels with 10 % or more of
        the maximum sensitivity; NaN outside the body.
        """
        means = (
            regional_means(activity, case.batch.labels, len(self.organs), case.mask) / self.voxel_volume_ml
        )
        means[..., OUTSIDE] = torch.nan
        return means
