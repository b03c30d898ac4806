"""Searches on functions whose least is known."""

import pytest
import torch

from data_gen import UserError
from data_gen.design import Bounds, by_gradient, by_grid

BOUNDS = Bounds(("a", "b"), ((0.2, 5.0), (10.0, 40.0)))


def valley(parameters: torch.Tensor) -> torch.Tensor:
    """A curved valley in log parameters with its least, 1, at (0.9, 23)."""
    a, b = (parameters / torch.tensor([0.9, 23.0], dtype=torch.float64)).log()
    return 1 + 4 * (b - a.square()).square() + a.square()


def test_gradient_finds_the_least():
    """Within 1 % of the place and 1e-3 of the value, for a fraction of the evaluations of a 12 x 12 grid, and
    no worse than that grid."""
    gradient, grid = by_gradient(valley, BOUNDS, (4.0, 12.0), most=40), by_grid(valley, BOUNDS, 12)
    assert gradient.best.parameters == pytest.approx((0.9, 23.0), rel=0.01)
    assert gradient.best.value == pytest.approx(1.0, abs=1e-3)
    assert gradient.best.value <= grid.best.value
    assert len(gradient.trials) < len(grid.trials) / 3 == 48
    assert gradient.trials[0].parameters == pytest.approx((4.0, 12.0))


def test_least_at_a_bound():
    """A function that falls all the way ends at the bound, whichever search."""
    for search in (
        by_gradient(lambda p: 1 / p.prod(), BOUNDS, (1.0, 20.0)),
        by_grid(lambda p: 1 / p.prod(), BOUNDS, 3),
    ):
        assert search.best.parameters == pytest.approx((5.0, 40.0), rel=1e-6)


def test_a_start_beyond_the_bounds_is_moved_to_them():
    trials = by_gradient(valley, BOUNDS, (50.0, 1.0), most=1).trials
    assert trials[0].parameters == pytest.approx((5.0, 10.0))


def test_shares_are_the_inverse():
    """Shares of a range and back, 1e-12."""
    for parameters in ((0.2, 40.0), (1.0, 20.0)):
        share = torch.tensor(BOUNDS.shares(parameters), dtype=torch.float64)
        assert BOUNDS.at(share).tolist() == pytest.approx(parameters, rel=1e-12)


@pytest.mark.parametrize(
    "span", [(2.0, 1.0), (0.0, 1.0), (1.0, float("inf")), (1.0, 1.0), (float("nan"), 1.0)]
)
def test_empty_bounds_are_told(span):
    with pytest.raises(UserError, match="it needs 0 < lowest < highest"):
        Bounds(("a", "b"), ((1.0, 2.0), span))


def test_useless_searches_are_told():
    with pytest.raises(UserError, match="grid_points is 1"):
        by_grid(valley, BOUNDS, 1)
    with pytest.raises(UserError, match="most_evaluations is 0"):
        by_gradient(valley, BOUNDS, (1.0, 20.0), most=0)
    with pytest.raises(UserError, match="is not finite at"):
        by_gradient(lambda p: p.sum() * torch.inf, BOUNDS, (1.0, 20.0))


def test_walls_are_walked_around():
    """A function that is infinite beyond a = 2, where the first step may lead: its least is found."""
    search = by_gradient(lambda p: torch.where(p[0] < 2, valley(p), torch.inf), BOUNDS, (1.9, 12.0), most=40)
    assert search.best.value == pytest.approx(1.0, abs=0.01)
