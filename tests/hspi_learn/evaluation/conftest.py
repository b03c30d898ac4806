"""Six mice of a small dense model, for studies that take seconds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import AttackRecord, Condition, Judge, ReconstructionOutcome, Scores
from hspi_learn.evaluation.study import FULL
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


NAN = math.nan
FEW, ATTACKED, RANDOM = Condition(0.2), Condition(1.0, "attacked"), Condition(1.0, "random")

TRUE_ORGANS = [
    [[NAN, 10.0, 100.0], [NAN, 20.0, 200.0]],
    [[NAN, 20.0, 200.0], [NAN, 40.0, 400.0]],
    [[NAN, 30.0, NAN], [NAN, 60.0, NAN]],
]
TRUE_TUMOURS = [[[100.0, NAN], [200.0, NAN]], [[150.0, 250.0], [300.0, 500.0]], [[NAN, NAN], [NAN, NAN]]]
GAN_ORGANS = [
    [[NAN, 11.0, 90.0], [NAN, 20.0, 220.0]],
    [[NAN, 18.0, 210.0], [NAN, 20.0, 400.0]],
    [[NAN, 36.0, NAN], [NAN, 60.0, NAN]],
]
GAN_TUMOURS = [[[90.0, NAN], [220.0, NAN]], [[120.0, 300.0], [270.0, 500.0]], [[NAN, NAN], [NAN, NAN]]]


def scores_by_hand(nrmse: list[list[float]], organs: Tensor, tumours: Tensor) -> Scores:
    """Scores of as many mice as have an NRMSE; all but errors and means are those of one method."""
    mice = len(nrmse)
    peaks = torch.tensor([[5.0, NAN], [4.0, 6.0], [NAN, NAN]])[:, None].repeat(1, 2, 1)
    around = torch.tensor([[3.0, NAN], [5.0, 1.0], [4.5, NAN]])[:, None].repeat(1, 2, 1)
    return Scores(
        nrmse=torch.tensor(nrmse),
        tumour_nrmse=torch.tensor([[0.2, 0.4], [0.6, 0.8], [NAN, NAN]])[:mice],
        cnr=torch.tensor([[1.0, 2.0], [3.0, 5.0], [NAN, NAN]])[:mice],
        regions=organs[:mice],
        counts=torch.tensor([100.0, 400.0, 200.0])[:mice],
        lesions=tumours[:mice],
        auc=torch.tensor([[0.9, 0.8], [0.7, 1.0], [NAN, NAN]])[:mice],
        lesion_peaks=peaks[:mice],
        background_peaks=around[:mice],
    )


@pytest.fixture
def by_hand() -> ReconstructionOutcome:
    """Three mice, of which the second has two tumours and the last none; numbers as they stand above.

    osem gives half of every mean, the training mean all of it. At a fifth of the counts NRMSE is larger; the
    first two mice are attacked, by "attacked" and by "random".
    """
    organs, tumours = torch.tensor(TRUE_ORGANS), torch.tensor(TRUE_TUMOURS)
    gan = (torch.tensor(GAN_ORGANS), torch.tensor(GAN_TUMOURS))
    osem = (0.5 * organs, 0.5 * tumours)
    scores = {
        FULL: {
            "gan": scores_by_hand([[0.1, 0.3], [0.2, 0.6], [0.3, 0.5]], *gan),
            "osem": scores_by_hand([[0.5, 0.5], [0.4, 0.6], [0.7, 0.9]], *osem),
            "mean_image": scores_by_hand([[0.6, 0.6], [0.7, 0.7], [0.9, 0.9]], organs, tumours),
        },
        FEW: {
            "gan": scores_by_hand([[0.3, 0.5], [0.4, 0.8], [0.5, 0.7]], *gan),
            "osem": scores_by_hand([[0.8, 0.8], [0.7, 0.9], [1.0, 1.2]], *osem),
            "mean_image": scores_by_hand([[0.6, 0.6], [0.7, 0.7], [0.9, 0.9]], organs, tumours),
        },
        ATTACKED: {
            "gan": scores_by_hand([[1.0, 1.0], [1.0, 3.0]], *gan),
            "osem": scores_by_hand([[0.7, 0.7], [0.8, 1.0]], *osem),
        },
        RANDOM: {
            "gan": scores_by_hand([[0.2, 0.4], [0.3, 0.7]], *gan),
            "osem": scores_by_hand([[0.5, 0.5], [0.4, 0.8]], *osem),
        },
    }
    record = AttackRecord(
        torch.tensor([1.0, 2.0]),
        torch.tensor([0.2, 0.4]),
        torch.tensor([False, True]),
        torch.tensor([True, True]),
    )
    failed = {
        condition: {m: torch.zeros(len(s.nrmse), dtype=torch.bool) for m, s in by_method.items()}
        for condition, by_method in scores.items()
    }
    density = torch.zeros(3, 4, 5, 6)
    density[:, 1:3, 1:4, 1:5] = 1.0
    truths = (density > 0)[:, None] * torch.ones(3, 2, 1, 1, 1)
    truths[:, :, 1, 3, 2] = 4.0
    return ReconstructionOutcome(
        scores=scores,
        attacked={ATTACKED: {"gan": record, "osem": record}, RANDOM: {"gan": record}},
        predictions={"gan": 0.9 * truths, "osem": 0.5 * truths, "mean_image": 0.1 * truths},
        failed=failed,
        truth_regions=organs,
        truth_lesions=tumours,
        lesion_mm3=torch.tensor([[8.0, NAN], [16.0, 24.0], [NAN, NAN]]),
        truths=truths,
        density=density,
    )
