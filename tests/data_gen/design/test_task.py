"""Regions of a task: nothing lost, nothing counted twice."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import UserError
from data_gen.design import regional_task, surroundings

BALL = (torch.cartesian_prod(*[torch.arange(7) - 3.0] * 3).norm(dim=1) < 1.6).reshape(7, 7, 7)


def task_of(activity, masks, wanted="ball"):
    return regional_task(activity, ("A", "B"), masks, torch.ones(7, 7, 7), 60.0, wanted)


@settings(max_examples=15, derandomize=True)
@given(seed=st.integers(0, 1000))
def test_activity_is_conserved(seed):
    """Regions that overlap share out all activity of each map once, within 1e-5; shapes sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    activity = torch.rand(2, 7, 7, 7, generator=generator) + 0.01
    masks = {"ball": BALL, "other": torch.rand(7, 7, 7, generator=generator) < 0.5}
    task = task_of(activity, masks)
    assert task.activity_bq.sum(0).tolist() == pytest.approx(activity.sum((1, 2, 3)).tolist(), rel=1e-5)
    assert task.shape.sum((1, 2, 3)).tolist() == pytest.approx([1.0] * 3, rel=1e-5)
    assert task.parts == ("ball/A", "ball/B", "other/A", "other/B", "rest/A", "rest/B")
    assert task.parts[task.wanted_parts] == ("ball/A", "ball/B")


def test_shapes_are_smooth():
    """One voxel becomes weights 1, 2, 1 along each axis: 8/64 in the middle, 1/64 at corners; within 1e-6."""
    one = torch.zeros(7, 7, 7, dtype=torch.bool)
    one[3, 3, 3] = True
    shape = task_of(torch.ones(2, 7, 7, 7), {"ball": one}).shape[0]
    assert float(shape[3, 3, 3]) == pytest.approx(8 / 64, abs=1e-6)
    assert float(shape[2, 4, 2]) == pytest.approx(1 / 64, abs=1e-6)
    assert float(shape[2:5, 2:5, 2:5].sum()) == pytest.approx(1.0, abs=1e-6)


def test_surroundings_are_beside():
    """A shell one voxel thick, each voxel in one quarter: those within sqrt(3) of the ball but outside it."""
    quarters = torch.stack(tuple(surroundings(BALL, "near").values()))
    inside, outside = BALL.nonzero().double(), (~BALL).nonzero()
    near = outside[(torch.cdist(outside.double(), inside).amin(dim=1) < 1.74)]
    assert int(quarters.sum(0).max()) == 1
    assert torch.equal(quarters.any(0).nonzero(), near)
    assert [int(q.sum()) > 0 for q in quarters] == [True] * 4


def test_empty_regions():
    """Those without activity are left out; a wanted one is told."""
    activity = torch.ones(2, 7, 7, 7) * ~BALL
    masks = {"ball": BALL, "half": torch.arange(7).expand(7, 7, 7) < 3}
    assert task_of(activity, masks, wanted="half").regions == ("half", "rest")
    with pytest.raises(UserError, match="'ball' has no activity; it needs one of half, rest"):
        task_of(activity, masks)
    activity[1] = 0
    with pytest.raises(UserError, match="lacks one of A, B"):
        task_of(activity, masks, wanted="half")


def test_others_become_one_region():
    """Activity of each map, and of all maps in each voxel, stays as it was; within 1e-5. A task of one region
    has no others."""
    generator = torch.Generator().manual_seed(2)
    activity = torch.rand(2, 7, 7, 7, generator=generator) + 0.01
    corner = torch.zeros(7, 7, 7, dtype=torch.bool)
    corner[:2] = True
    task = task_of(activity, {"corner": corner, "ball": BALL})
    coarse = task.against_rest()
    assert coarse.regions == ("ball", "rest")
    assert coarse.wanted_parts == slice(0, 2)
    assert torch.allclose(coarse.activity_bq.sum(0), task.activity_bq.sum(0), rtol=1e-5)
    places = [torch.einsum("rm,rzyx->zyx", t.activity_bq.float(), t.shape.float()) for t in (task, coarse)]
    assert torch.allclose(*places, rtol=1e-5)
    alone = task_of(activity, {"ball": torch.ones(7, 7, 7, dtype=torch.bool)})
    assert alone.against_rest() is alone
