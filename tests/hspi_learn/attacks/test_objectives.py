"""Objectives against values told by hand."""

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.phantoms import ORGANS
from hspi_learn.attacks import (
    HideRegion,
    ImageError,
    InventRegion,
    RegionalActivity,
    TaskError,
    UptakeError,
)
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


def test_an_invented_tumour_lies_in_its_organ() -> None:
    """A liver bent around a gap: of (1, 1, 1), (1, 1, 4) and (1, 4, 1) the middle is (1, 2, 2), which is none
    of it; the voxel nearest to it is (1, 1, 1). A ball of the default radius, 1.5 voxels, has 19: the middle,
    6 at distance 1, and 12 at the square root of 2."""
    batch = _batch()
    labels = torch.zeros_like(batch.labels)
    for y, x in ((1, 1), (1, 4), (4, 1)):
        labels[:, 1, y, x] = ORGANS.index("liver")
    goal = InventRegion().on(batch._replace(labels=labels), _error)
    assert goal(batch.activity).tolist() == [19 * 3.0, 19 * 3.0]
    near = torch.zeros_like(batch.activity)
    near[:, :, 0:3, 0:3, 0:3] = 1.0
    assert goal(near).tolist() == [2 * 19.0, 2 * 19.0]
    assert InventRegion(radius_voxels=0.0).on(batch, _error)(batch.activity).tolist() == [3.0, 3.0]


def test_activity_of_a_region_by_hand() -> None:
    """Half a voxel of 3 Bq and a whole one of 5: 6.5 Bq, of the wanted map; every map has its number."""
    activity = torch.tensor([[3.0, 5.0], [10.0, 20.0]]).reshape(1, 2, 1, 1, 2)
    region = torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 2)
    assert RegionalActivity(region, map=0)(activity).tolist() == [6.5]
    assert RegionalActivity(region, map=1, sign=-1)(activity).tolist() == [-25.0]
    assert RegionalActivity(region)(activity).tolist() == [31.5]
    for number in (-1, 2):
        with pytest.raises(UserError, match=rf"objective\.map is {number}; it needs a number from 0 to 1"):
            RegionalActivity(region, number)(activity)


def test_error_of_an_image_by_hand() -> None:
    """Truths 3, 4 (norm 5) and 0, 2: an estimate off by (0, 1) and (0, 1) is wrong by 1/5 and 1/2, on average
    0.35; where only the first voxel counts the second map has no truth, and the first is right."""
    truth = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).reshape(1, 2, 1, 1, 2)
    estimate = truth + torch.tensor([0.0, 1.0])
    assert ImageError(truth)(estimate).tolist() == pytest.approx([0.35])
    first = torch.tensor([True, False]).reshape(1, 1, 1, 1, 2)
    assert ImageError(truth, first)(estimate).tolist() == [0.0]
