"""Six mice of a small dense model, for studies that take seconds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import Judge
from hspi_learn.reconstructor import ScanBatch, ScanContext

ORGANS = ("outside", "soft_tissue", "tumour")
GROUPS = ("ac225", "bi213")


class Oracle:
    """The truth times a factor, a number or one by voxel, whatever the counts."""

    def __init__(self, truth: Tensor, factor: float | Tensor) -> None:
        self.truth, self.factor = truth, factor

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        return self.factor * self.truth + 0.0 * projections.sum()


@pytest.fixture(scope="session")
def scans(model32: HyperspectralForwardModel, density: Tensor) -> ScanBatch:
    """Six mice with a tumour, a few thousand counts each."""
    generator = torch.Generator().manual_seed(0)
    body = density.float().repeat(3, 1, 1, 1)
    labels = (body > 0).long()
    labels[:, 1:3, 2, 3] = 2
    activity = (20.0 + 5 * torch.rand(6, 2, *body.shape[1:], generator=generator)) * (body > 0)[:, None]
    activity = torch.where((labels == 2)[:, None], 4 * activity, activity)
    duration = torch.full((6,), 1800.0)
    expected = model32.expected_counts(activity, model32.attenuation(body), duration)
    return ScanBatch(draw_counts(expected, generator), duration, body, activity, labels, torch.arange(6))


@pytest.fixture(scope="session")
def judge(model32: HyperspectralForwardModel) -> Judge:
    return Judge(ORGANS, model32.grid.voxel_volume_ml)
