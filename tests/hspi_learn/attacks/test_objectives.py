"""Objectives against values told by hand."""

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.phantoms import ORGANS
from hspi_learn.attacks import HideRegion, InventRegion, TaskError, UptakeError
from hspi_learn.reconstructor import ScanBatch


def _batch() -> ScanBatch:
    """Two scans of 5^3 voxels, maps of 1 and 2 Bq: a liver of 3^3, in the first a tumour of one voxel."""
    labels = torch.zeros(2, 5, 5, 5, dtype=torch.int64)
    labels[:, 1:4, 1:4, 1:4] = ORGANS.index("liver")
    labels[0, 0, 0, 0] = ORGANS.index("tumour")
    activity = torch.ones(2, 2, 5, 5, 5)
    activity[:, 1] = 2.0
    return ScanBatch(
        torch.zeros(2, 4, 3), torch.ones(2), torch.ones(2, 5, 5, 5), activity, labels, torch.arange(2)
    )


def _error(prediction: Tensor) -> Tensor:
    return prediction.flatten(1).sum(dim=1)


def test_error_is_the_tasks_own() -> None:
    assert TaskError().on(_batch(), _error) is _error


def test_hiding_wants_less_in_the_tumour() -> None:
    """Minus 1 + 2 Bq in the first scan, nothing in the second; one map alone counts its own."""
    batch = _batch()
    assert HideRegion().on(batch, _error)(batch.activity).tolist() == [-3.0, 0.0]
    assert HideRegion(map=1).on(batch, _error)(batch.activity).tolist() == [-2.0, 0.0]


def test_inventing_wants_more_in_a_ball_of_the_liver() -> None:
    """A ball of radius 1 about the liver's centre voxel has seven voxels."""
    batch = _batch()
    goal = InventRegion(radius_voxels=1.0, map=0).on(batch, _error)
    assert goal(batch.activity).tolist() == [7.0, 7.0]
    without = batch._replace(labels=torch.zeros_like(batch.labels))
    assert InventRegion().on(without, _error)(batch.activity).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_uptake_is_wrong_both_ways(factor: float) -> None:
    """Half too little and half too much are wrong by 0.5; a scan without a tumour by nothing."""
    batch = _batch()
    goal = UptakeError().on(batch, _error)
    assert goal(factor * batch.activity).tolist() == [0.5, 0.0]


def test_wrong_objectives_are_told() -> None:
    """An unknown organ, a map that is not there, a batch that is none of scans, and a negative radius."""
    batch = _batch()
    with pytest.raises(UserError, match=r"objective\.organ is 'lever'; it needs one of"):
        HideRegion("lever").on(batch, _error)
    with pytest.raises(UserError, match=r"objective\.map is 2; it needs a number from 0 to 1"):
        HideRegion(map=2).on(batch, _error)(batch.activity)
    with pytest.raises(UserError, match=r"a prediction is \[2, 3\]"):
        HideRegion().on(batch, _error)(torch.zeros(2, 3))
    with pytest.raises(UserError, match="a batch is a list"):
        UptakeError().on([1], _error)
    with pytest.raises(UserError, match="radius_voxels is -1"):
        InventRegion(radius_voxels=-1.0)
