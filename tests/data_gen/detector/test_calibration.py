"""Gains and offsets of pixels."""

from dataclasses import replace

import pytest
import torch

from data_gen import UserError
from data_gen.core.events import EventList
from data_gen.detector import CdTeResponse, PixelCalibration


def drawn(spread: float = 0.005, offset: float = 0.66) -> PixelCalibration:
    return PixelCalibration.drawn(1000, spread, offset, torch.Generator().manual_seed(5))


def events(count: int, energy_kev: float) -> EventList:
    pixel = torch.arange(count) % 1000
    return EventList(pixel, torch.full((count,), energy_kev, dtype=torch.float64), torch.zeros(count))


def test_correction_undoes_recording():
    """Exact to 1e-9 keV."""
    calibration, seen = drawn(), events(5000, 218.0)
    assert torch.allclose(
        calibration.corrected(calibration.recorded(seen)).energy_kev, seen.energy_kev, rtol=0, atol=1e-9
    )


def test_spread_over_pixels_is_that_of_the_response():
    """1,000 pixels at the peak of 218 keV vary by offset^2 + (gain E)^2, within 4 sigma; the mean spectrum's
    peak of single pixels grows by as much, within 5 % (its tail, cut off at 210 keV, takes some)."""
    single = CdTeResponse(2.0, 0.25, gain_spread_fraction=0.0, offset_spread_kev=0.0, mode="discrimination")
    edges = torch.arange(210, 235, 0.25, dtype=torch.float64)
    centre = (edges[1:] + edges[:-1]) / 2

    def variance(response: CdTeResponse) -> float:
        counts = response.kernel(torch.tensor([218.0]), edges).sum((0, 1))
        mean = (counts * centre).sum() / counts.sum()
        return float((counts * (centre - mean) ** 2).sum() / counts.sum())

    added = 0.66**2 + (0.005 * 216) ** 2
    spread = drawn().recorded(events(1000, 216.0)).energy_kev.var()
    assert float(spread) == pytest.approx(added, rel=4 * (2 / 1000) ** 0.5)
    whole = replace(single, gain_spread_fraction=0.005, offset_spread_kev=0.66)
    assert variance(whole) - variance(single) == pytest.approx(added, rel=0.05)


def test_the_same_seed_draws_the_same():
    """Bit by bit."""
    assert torch.equal(drawn().gain, drawn().gain)


@pytest.mark.parametrize(
    ("gain", "offset", "reason"),
    [
        (torch.ones(3), torch.zeros(4), "one number per pixel"),
        (torch.tensor([1.0, -1.0]), torch.zeros(2), "gain is -1"),
    ],
)
def test_wrong_calibrations_are_told(gain, offset, reason):
    with pytest.raises(UserError, match=reason):
        PixelCalibration(gain, offset)
