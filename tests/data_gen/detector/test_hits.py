"""Readout modes on signals made by hand, where every outcome can be counted."""

import pytest
import torch

from data_gen.detector.charge import Events
from data_gen.detector.hits import Threshold, read_out

SHARP = Threshold(torch.tensor(4.0, dtype=torch.float64), torch.tensor(1e-3, dtype=torch.float64))


def one_event(**signal_kev: float) -> Events:
    """An event of probability 1 with signals at pixels p0 to p8."""
    signal = torch.zeros(1, 1, 9, dtype=torch.float64)
    for name, value in signal_kev.items():
        signal[0, 0, int(name[1])] = value
    one = torch.ones(1, 1, dtype=torch.float64)
    return Events(one, signal, one[..., None], one[:, :0])


def test_addition_sums_what_is_above_threshold():
    """60 + 20 + 10 keV are summed, 3 keV under the threshold of 4 is lost; 3 pixels add their noise,
    gain and offset, with the squares of their shares."""
    hits = read_out(one_event(p4=60, p5=20, p1=10, p3=3), SHARP, "addition").hits
    assert hits.energy_kev.flatten().tolist() == pytest.approx([90.0])
    assert hits.pixels.tolist() == [3]
    assert hits.unevenness.tolist() == pytest.approx([(60**2 + 20**2 + 10**2) / 90**2])
    assert hits.place.tolist() == [0]


def test_addition_counts_every_pixel_above_threshold():
    """Five pixels over 4 keV and one at it: 40 + 20 + 10 + 8 + 6 keV, and half of 4 keV on the mean."""
    hits = read_out(one_event(p4=40, p5=20, p1=10, p3=8, p7=6, p0=4), SHARP, "addition").hits
    assert hits.energy_kev.flatten().tolist() == pytest.approx([86.0])
    assert float(hits.unevenness) == pytest.approx((40**2 + 20**2 + 10**2 + 8**2 + 6**2 + 2**2) / 86**2)


def test_addition_reaches_the_neighbours_of_the_largest_alone():
    """The event lies in the right edge; the pixel on the left is two columns away."""
    hits = read_out(one_event(p5=60, p4=20, p3=10), SHARP, "addition").hits
    assert hits.energy_kev.flatten().tolist() == pytest.approx([80.0])
    assert hits.place.tolist() == [1]


def test_a_signal_at_threshold_counts_half():
    """Half of all events with a second signal of 4 keV are 64 keV, half 60; one of 4 keV is lost in half."""
    hits = read_out(one_event(p4=60, p5=4), SHARP, "addition").hits
    assert dict(
        zip(hits.energy_kev.flatten().tolist(), hits.probability.tolist(), strict=True)
    ) == pytest.approx({60.0: 0.5, 64.0: 0.5})
    lost = read_out(one_event(p4=4), SHARP, "addition").losses
    assert float(lost["below_threshold"]) == pytest.approx(0.5)


def test_discrimination_rejects_a_second_pixel():
    """A second signal of 4 keV rejects half of all events, one of 10 keV all."""
    half = read_out(one_event(p4=60, p5=4), SHARP, "discrimination")
    assert float(half.losses["discriminated"]) == pytest.approx(0.5)
    assert float(half.hits.probability.sum()) == pytest.approx(0.5)
    assert float(read_out(one_event(p4=60, p0=10), SHARP, "discrimination").losses["discriminated"]) == 1


def test_raw_takes_every_pixel_for_itself():
    """The largest is the event's hit; the two others above threshold are linked, each in its own pixel."""
    read = read_out(one_event(p4=60, p5=20, p0=10, p3=3), SHARP, "raw")
    assert read.hits.energy_kev.flatten().tolist() == [60.0]
    linked = read.linked
    seen = linked.probability > 1e-6
    assert linked.energy_kev.flatten()[seen].tolist() == [20.0, 10.0]
    assert linked.place[seen].tolist() == [1, 2]
