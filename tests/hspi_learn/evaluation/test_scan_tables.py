"""The table of the lesions of one scan, by hand and from the counts of a scan."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import LesionActivities, RegionalEstimates, lesion_activities
from hspi_learn.evaluation.scan_tables import lesion_table


def test_the_table_of_lesions_by_hand(model64: HyperspectralForwardModel) -> None:
    """500 +- 100 Bq in 20 mm3 are 25,000 Bq/mL; 40 +- 30 Bq of the other map are not identifiable."""
    value, sd = torch.tensor([[500.0, 40.0]]), torch.tensor([[100.0, 30.0]])
    estimates = RegionalEstimates(value, sd, value - sd, value + sd, 0.9, converged=False)
    lesions = LesionActivities(
        torch.tensor([7]), torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([20.0]), estimates
    )
    table = lesion_table(model64, lesions)
    assert table.rows[0] == (
        "1",
        "ac225",
        *(1.0, -2.0, 3.0, 20.0),
        *(500.0, 100.0, 400.0, 600.0, 25000.0),
        "not converged",
    )
    assert table.rows[1][-1] == "not identifiable; not converged"
    assert table.columns[2:6] == ("x_mm", "y_mm", "z_mm", "volume_mm3")
    assert "90 % interval" in table.caption


def test_a_lesion_of_a_scan_stands_at_its_place(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Noise-free counts of a hot voxel pair at x = 1 mm, y = 0, z = 0, of 240 and 120 Bq, within 1 %."""
    body = density[0] > 0
    activity = torch.stack((20.0 * body, 10.0 * body))
    activity[:, 1:3, 2, 3] *= 6
    counts = model64.expected_counts(activity[None], model64.attenuation(density[:1]), 3600.0)[0]
    found = lesion_activities(model64, counts, 3600.0, density[0], activity, body, profiled=False)
    rows = lesion_table(model64, found).rows
    assert [row[:2] for row in rows] == [("1", "ac225"), ("1", "bi213")]
    assert rows[0][2:6] == pytest.approx((1.0, 0.0, 0.0, 16.0))
    assert [row[6] for row in rows] == [pytest.approx(240.0, rel=0.01), pytest.approx(120.0, rel=0.01)]
