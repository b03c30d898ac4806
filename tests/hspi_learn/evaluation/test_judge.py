"""The judge against figures worked out by hand along a row of twelve voxels, and batches put together."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import Judge, JudgedError, ReconstructionCase, Scores
from hspi_learn.evaluation.judge import joined_columns
from hspi_learn.reconstructor import ScanBatch
from tests.hspi_learn.evaluation.conftest import ORGANS

NAN = math.nan
ROW = [8.0, 4.0, 1.0, 1.0, 3.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 100.0]
"""The estimate in Bq: two tumours, the first two voxels and the ninth; the last voxel is outside the body."""


def row(values: list[float]) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


@pytest.fixture
def case() -> Any:
    """One mouse with two maps, in each 2 Bq in every voxel of the body; the second voxel is hardly seen."""
    labels = torch.tensor([2, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 0]).reshape(1, 1, 1, -1)
    body = (labels > 0)[:, None]
    mask = body.repeat(1, 2, 1, 1, 1)
    mask[..., 1] = False
    activity = 2.0 * body.repeat(1, 2, 1, 1, 1)
    batch = SimpleNamespace(
        labels=labels, activity=activity, projections=torch.tensor([[[1.0, 2.0], [4.0, 0.0]]])
    )
    return SimpleNamespace(batch=batch, mask=mask, context=SimpleNamespace(body=body))


def test_every_score_by_hand(case: Any) -> None:
    """An estimate of one map, and an empty one of the other; voxels of 0.008 mL.

    Evaluated are all voxels of the body but the second: tumours of 8 and 2 Bq, soft tissue of 1, 1, 3, 1, 1,
    2, 1, 1. Background is two steps from a tumour: 1, 3, 1, 1, 1, which has one peak and SD sqrt(0.8). The
    mean of the body is 25 / 11.
    """
    judge = Judge(ORGANS, 0.008)
    estimate = torch.cat((row(ROW), row([0.0] * 12)), dim=1)
    found = judge.scores(estimate, case)
    assert found.nrmse[0].tolist() == pytest.approx([math.sqrt(43 / 40), 1.0])
    assert found.tumour_nrmse[0].tolist() == pytest.approx([math.sqrt(36 / 8), 1.0])
    assert float(found.cnr[0, 0]) == pytest.approx((14 / 3 - 1.4) / math.sqrt(0.8))
    assert found.regions[0, 0].tolist() == pytest.approx([NAN, 11 / 8 / 0.008, 5 / 0.008], nan_ok=True)
    assert found.counts.tolist() == [7.0]
    assert found.lesions[0].tolist() == [pytest.approx([1000.0, 250.0]), [0.0, 0.0]]
    assert found.auc[0].tolist() == pytest.approx([0.9, 0.5])
    assert found.lesion_peaks[0].tolist() == [pytest.approx([8 * 11 / 25, 2 * 11 / 25]), [0.0, 0.0]]
    peaks = found.background_peaks[0, 0]
    assert peaks[~peaks.isnan()].tolist() == pytest.approx([3 * 11 / 25])
    assert float(found.scan_nrmse) == pytest.approx((math.sqrt(43 / 40) + 1) / 2)


def test_volumes_count_every_voxel_of_a_tumour(case: Any) -> None:
    """Two voxels and one of 8 mm3, evaluated or not; a mouse with one tumour has no second."""
    labels = case.batch.labels.repeat(2, 1, 1, 1)
    labels[1, ..., :2] = 1
    case.batch.labels = labels
    found = Judge(ORGANS, 0.008).lesion_mm3(case)
    assert found.tolist() == [pytest.approx([16.0, 8.0]), pytest.approx([8.0, NAN], nan_ok=True)]


def test_organs_by_another_name(case: Any) -> None:
    """A judge looks for the labels that it is told; of a name that no organ has there is no voxel."""
    other = Judge(ORGANS, 1.0, tumour="soft_tissue", background="tumour")
    assert torch.equal(other.lesion(case.batch.labels), (case.batch.labels == 1)[:, None])
    without = Judge(("outside", "liver", "lungs"), 1.0)
    assert not without.lesion(case.batch.labels).any()
    scores = without.scores(case.batch.activity, case)
    assert scores.lesions.shape == (1, 2, 0)
    assert bool(scores.auc.isnan().all())


def test_the_first_scan_with_a_tumour(scans: ScanBatch, judge: Judge) -> None:
    """Of three scans the second; the very first where none has one."""
    alone = [ScanBatch(*(part[i] for part in scans)) for i in range(3)]
    healthy = [scan._replace(labels=scan.labels.clamp_max(1)) for scan in alone]
    data: Any = [healthy[0], alone[1], alone[2]]
    found = judge.first_with_tumour(data)
    assert found.index.tolist() == [1]
    assert torch.equal(found.projections, scans.projections[1:2])
    nowhere: Any = healthy
    assert judge.first_with_tumour(nowhere).index.tolist() == [0]


def test_batches_of_different_sizes_are_joined() -> None:
    """Columns by mouse are put one after the other; where a batch has fewer lesions, NaN fills its rows."""
    first = (torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [2.0]]))
    second = (torch.tensor([3.0]), torch.tensor([[3.0, 4.0, 5.0]]))
    by_mouse, by_lesion = joined_columns([first, second])
    assert by_mouse.tolist() == [1.0, 2.0, 3.0]
    expected = [[1.0, NAN, NAN], [2.0, NAN, NAN], [3.0, 4.0, 5.0]]
    assert [pytest.approx(line, nan_ok=True) for line in expected] == by_lesion.tolist()


def test_scores_of_batches_and_of_the_first_mice(case: Any) -> None:
    """Mice in their order, in every column."""
    judge = Judge(ORGANS, 0.008)
    once, twice = (judge.scores(factor * case.batch.activity, case) for factor in (1.0, 2.0))
    joined = Scores.joined([once, twice, once])
    assert joined.nrmse[:, 0].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert joined.counts.tolist() == [7.0, 7.0, 7.0]
    first = joined.of_first(2)
    assert {len(column) for column in first} == {2}
    assert first.lesions[:, 0, 0].tolist() == pytest.approx([250.0, 500.0])


def test_tuning_is_told_the_error_of_the_evaluation(
    model32: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """The same NRMSE in the same voxels, for scans one after the other and back again."""
    error = JudgedError(model32)
    cases = [ReconstructionCase.of(model32, ScanBatch(*(part[i : i + 2] for part in scans))) for i in (0, 2)]
    for case in (*cases, cases[0], cases[0]):
        estimate = case.batch.activity + torch.arange(6.0)
        assert torch.equal(error(estimate, case.batch, case.context), case.error(estimate))


def test_sensitivity_is_computed_once_for_the_same_scans() -> None:
    """Three images of one scan and one of another ask twice; a voxel seen less than 10 % is left out."""
    asked: list[str] = []

    def sensitivity(attenuation: str) -> Tensor:
        asked.append(attenuation)
        return row([1.0, 0.05, 0.2])

    model: Any = SimpleNamespace(primary=SimpleNamespace(sensitivity=sensitivity))
    contexts: list[Any] = [
        SimpleNamespace(attenuation=name, body=torch.ones(1, 1, 1, 1, 3, dtype=torch.bool)) for name in "ab"
    ]
    scans: Any = SimpleNamespace(activity=row([3.0, 1.0, 4.0]))
    error = JudgedError(model)
    for context in (contexts[0], contexts[0], contexts[0], contexts[1]):
        assert error(row([3.0, 9.0, 3.0]), scans, context).tolist() == pytest.approx([1 / 5])
    assert asked == ["a", "b"]
