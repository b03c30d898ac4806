"""Events and frames."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame, checked_counts
from data_gen.core.grid import EnergyBins, EnergyWindows
from data_gen.forward_model.event_sampling import draw_counts, events_from_counts

AXIS = EnergyBins(20.0, 600.0, 7)
FRAMES = (Frame(10.0, 5.0), Frame(100.0, 20.0))


def _events(energies: list[float]) -> EventList:
    n = len(energies)
    return EventList(torch.arange(n) % 3, torch.tensor(energies), torch.arange(n, dtype=torch.float64))


@given(st.lists(st.integers(0, 4), min_size=21, max_size=21), st.integers(0, 2**31))
def test_histogram_undoes_drawing_events(counts: list[int], seed: int) -> None:
    """Truth: a histogram of the events on the axis they were drawn on is exactly the counts."""
    drawn = torch.tensor(counts, dtype=torch.float32).reshape(3, 7)
    events = events_from_counts(drawn, AXIS, FRAMES, torch.Generator().manual_seed(seed))
    assert torch.equal(events.histogram(3, AXIS), drawn)
    assert torch.equal(events.time_s, events.time_s.sort().values)
    inside = [(events.time_s >= f.start_s) & (events.time_s <= f.end_s) for f in FRAMES]
    assert bool((inside[0] | inside[1]).all())


def test_times_are_uniform_over_the_measured_time() -> None:
    """Truth: 5 of 25 measured seconds are in the first frame; binomial, 5 sigma."""
    counts = torch.full((1, 7), 3000.0)
    events = events_from_counts(counts, AXIS, FRAMES, torch.Generator().manual_seed(0))
    n, share = len(events), float((events.time_s < 50).double().mean())
    assert abs(share - 0.2) < 5 * (0.2 * 0.8 / n) ** 0.5


def test_poisson_counts_have_mean_and_variance_of_their_expectation() -> None:
    """Truth: chi2 per degree of freedom over 1e5 bins is 1, sd sqrt(2/1e5 + 1/(mean 1e5)); 5 sigma."""
    expected = torch.linspace(0.5, 20.0, 100_000)
    drawn = draw_counts(expected, torch.Generator().manual_seed(1))
    chi2 = float(((drawn - expected) ** 2 / expected).mean())
    assert abs(chi2 - 1) < 5 * (2 / 1e5 + float((1 / expected).mean()) / 1e5) ** 0.5
    assert torch.equal(drawn, draw_counts(expected, torch.Generator().manual_seed(1)))


def test_thinning_keeps_a_binomial_share() -> None:
    """Truth: binomial mean and sd, 5 sigma; the whole share is the same list."""
    events = _events([100.0] * 20_000)
    kept = events.thinned(0.3, torch.Generator().manual_seed(2))
    assert abs(len(kept) - 6000) < 5 * (20_000 * 0.3 * 0.7) ** 0.5
    assert events.thinned(1.0, torch.Generator()) is events
    with pytest.raises(UserError, match="fraction"):
        events.thinned(0.0, torch.Generator())


def test_windows_leave_out_what_lies_outside() -> None:
    events = _events([10.0, 80.0, 99.9, 100.0, 700.0])
    assert events.histogram(3, EnergyWindows([75.0, 100.0])).sum() == 2
    assert len(events.within(75.0, 100.0)) == 2


@pytest.mark.parametrize("bad", [[float("nan")], [-1.0], [float("inf")]])
def test_bad_energies_are_refused(bad: list[float]) -> None:
    with pytest.raises(UserError, match="energy_kev"):
        _events(bad).checked(3)


def test_pixels_outside_the_camera_are_refused() -> None:
    with pytest.raises(UserError, match=r"0\.\.1"):
        _events([80.0, 80.0, 80.0]).checked(2)


@pytest.mark.parametrize("bad", [float("nan"), -1.0])
def test_bad_counts_are_refused(bad: float) -> None:
    with pytest.raises(UserError, match="counts"):
        checked_counts(torch.tensor([1.0, bad]))


@pytest.mark.parametrize(("start", "duration"), [(-1.0, 5.0), (0.0, 0.0), (0.0, float("nan"))])
def test_impossible_frames_are_refused(start: float, duration: float) -> None:
    with pytest.raises(UserError, match="frame"):
        Frame(start, duration)


def test_empty_list_of_events_is_an_empty_histogram() -> None:
    assert _events([]).checked(3).histogram(3, AXIS).sum() == 0
