"""From a reconstruction (Bq per voxel) to its metrics by mouse: NRMSE, contrast to noise, means of organs and
single tumours (Bq/mL), and how tumours stand out.

Metrics: ``hspi_learn/metrics``. All but contrast to noise are over body voxels with 10 % or more of the
maximum sensitivity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.data import collate
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.metrics import (
    background_peaks,
    contrast_to_noise,
    evaluated_voxels,
    grown,
    lesion_peaks,
    nrmse,
    regional_means,
    scan_nrmse,
    separate_lesions,
    surroundings,
    voxel_auc,
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
    lesions: Tensor
    """Mean of each tumour's evaluated voxels in Bq/mL, [mouse, map, lesion]; NaN where there are none."""
    auc: Tensor
    """Chance that a tumour voxel is hotter than one of the background, [mouse, map]."""
    lesion_peaks: Tensor
    """Hottest voxel of each tumour over the mean of the body, [mouse, map, lesion]."""
    background_peaks: Tensor
    """Peaks of the background over the mean of the body, [mouse, map, peak]."""

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of several batches as one."""
        return cls(*joined_columns(parts))

    def of_first(self, mice: int) -> Scores:
        """The scores of the first so many mice."""
        return Scores(*(column[:mice] for column in self))

    @property
    def scan_nrmse(self) -> Tensor:
        """Mean over maps, [mouse]: what medians over mice are taken of."""
        return self.nrmse.nanmean(dim=1)


def joined_columns(parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Columns of several batches [batch, ...] as one; NaN stands for lesions that a mouse does not have."""
    return [_joined(columns) for columns in zip(*parts, strict=True)]


def _joined(columns: Sequence[Tensor]) -> Tensor:
    if columns[0].ndim == 1:
        return torch.cat(list(columns))
    width = max(column.shape[-1] for column in columns)
    filled = [functional.pad(c, (0, width - c.shape[-1]), value=torch.nan) for c in columns]
    return torch.cat(filled)


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
        background: name of the label in which false lesions are looked for.
    """

    organs: tuple[str, ...]
    voxel_volume_ml: float
    tumour: str = "tumour"
    background: str = "soft_tissue"

    @classmethod
    def of(cls, model: HyperspectralForwardModel) -> Judge:
        """For scans of our phantoms on the model's grid."""
        return cls(ORGANS, model.grid.voxel_volume_ml)

    def scores(self, estimate: Tensor, case: ReconstructionCase) -> Scores:
        """Metrics of an estimate [batch, map, z, y, x] in Bq per voxel."""
        truth, mask, body = case.batch.activity, case.mask, case.context.body
        lesion = self.lesion(case.batch.labels)
        around = surroundings(lesion, body & ~lesion)
        background = self._label(case.batch.labels, self.background) & mask & ~grown(lesion, 1)
        mean = torch.where(body, estimate, 0.0).sum((2, 3, 4), True) / body.sum((2, 3, 4), True).clamp_min(1)
        relative = estimate / torch.where(mean > 0, mean, 1.0)
        return Scores(
            nrmse(estimate, truth, mask),
            nrmse(estimate, truth, mask & lesion),
            contrast_to_noise(estimate, lesion, around),
            self.regions(estimate, case),
            case.batch.projections.sum(dim=(1, 2)),
            self.lesions(estimate, case),
            voxel_auc(estimate, lesion & mask, background),
            lesion_peaks(relative, separate_lesions(lesion), mask),
            background_peaks(relative, background),
        )

    def lesion(self, labels: Tensor) -> Tensor:
        """Tumour voxels [batch, 1, z, y, x]."""
        return self._label(labels, self.tumour)

    def _label(self, labels: Tensor, name: str) -> Tensor:
        """Voxels of a label [batch, 1, z, y, x]; none where no organ has that name."""
        if name not in self.organs:
            return torch.zeros_like(labels, dtype=torch.bool)[:, None]
        return (labels == self.organs.index(name))[:, None]

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

    def lesions(self, activity: Tensor, case: ReconstructionCase) -> Tensor:
        """Mean concentration of each tumour in Bq/mL, [batch, map, lesion], over the same voxels."""
        lesions = separate_lesions(self.lesion(case.batch.labels))
        means = regional_means(activity, lesions, int(lesions.max()) + 1, case.mask)[..., 1:]
        return means / self.voxel_volume_ml

    def lesion_mm3(self, case: ReconstructionCase) -> Tensor:
        """Volume of each tumour, [batch, lesion]; NaN for what a scan does not have."""
        lesions = separate_lesions(self.lesion(case.batch.labels))
        voxels = functional.one_hot(lesions.flatten(1)).sum(1)[:, 1:]
        return torch.where(voxels > 0, 1000 * self.voxel_volume_ml * voxels, torch.nan)
