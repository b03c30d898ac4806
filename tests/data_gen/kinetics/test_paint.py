"""Regions on voxels."""

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.kinetics import even_shares, painted

REGIONS = ("tumour", "excreted", "liver")


def _shares():
    tumour, liver = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    tumour[0, 1, 1], tumour[0, 1, 2] = 1.0, 3.0
    liver[1] = 2.0
    return even_shares({"tumour": tumour, "liver": liver})


def test_activity_is_spread_by_shares():
    """By hand: 1:3 in the tumour, even in the liver; what is excreted is not in view; sums stay, 1e-12."""
    values = torch.tensor([[[8.0, 4.0], [100.0, 100.0], [24.0, 12.0]]], dtype=torch.float64)
    maps = painted(values, REGIONS, _shares())
    assert maps.shape == (1, 2, 2, 3, 4)
    assert maps[0, :, 0, 1, 1].tolist() == [2.0, 1.0]
    assert maps[0, :, 0, 1, 2].tolist() == [6.0, 3.0]
    assert maps[0, 0, 1].tolist() == [[2.0] * 4] * 3
    assert maps.sum((-3, -2, -1))[0].tolist() == pytest.approx([32.0, 16.0], rel=1e-12)
    assert painted(values[0], REGIONS, _shares()).shape == (2, 2, 3, 4)


def test_part_of_a_region_may_lie_out_of_view():
    """Shares that sum to a half paint a half."""
    shares = _shares()
    shares["liver"] = shares["liver"] / 2
    maps = painted(torch.ones(3, 1), REGIONS, shares)
    assert float(maps.sum()) == pytest.approx(1.5, rel=1e-12)


def test_wrong_shares_are_refused():
    values = torch.ones(3, 1)
    shares = _shares()
    with pytest.raises(UserError, match="'liver'"):
        painted(values, REGIONS, {"tumour": shares["tumour"]})
    with pytest.raises(UserError, match="'spleen'"):
        painted(values, REGIONS, {**shares, "spleen": shares["liver"]})
    with pytest.raises(UserError, match="one grid"):
        painted(values, REGIONS, {**shares, "liver": torch.ones(1, 1, 1)})
    with pytest.raises(UserError, match="sum to 2"):
        painted(values, REGIONS, {**shares, "liver": 2 * shares["liver"]})
    with pytest.raises(UserError, match="empty"):
        even_shares({"tumour": torch.zeros(1, 1, 1)})
    with pytest.raises(UserError, match="negative"):
        even_shares({"tumour": torch.tensor([[[-1.0, 2.0]]])})
