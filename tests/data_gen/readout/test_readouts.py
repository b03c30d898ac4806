"""Frame and event-driven readout against closed forms."""

import math

import pytest
import torch
from contracts.readout_contract import ReadoutContract, layout_of, poisson_events
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.readout import EventReadout, FrameReadout
from data_gen.readout.dead_time import survivors

ONE_PIXEL = layout_of(1, 1, 1)


class TestNonParalysable(ReadoutContract):
    busy_cps = 5e3

    def readout(self):
        return EventReadout(20e-6, "non_paralysable", pile_up_s=2e-6)


class TestParalysable(ReadoutContract):
    busy_cps = 5e3

    def readout(self):
        return EventReadout(20e-6, "paralysable", time_step_s=1e-6)


class TestPixelChannels(ReadoutContract):
    busy_cps = 2e4

    def readout(self):
        return EventReadout(20e-6, channel="pixel")


class TestLargestOfFrame(ReadoutContract):
    busy_cps = 8e3

    def readout(self):
        return FrameReadout(8000.0)


class TestSumOfFrame(ReadoutContract):
    busy_cps = 8e3

    def readout(self):
        return FrameReadout(8000.0, keep="sum", shutter="global")


@pytest.mark.parametrize("load", [0.05, 0.5, 2.0])
def test_dead_time_closed_forms(load):
    """Recorded rates n/(1 + n tau) and n exp(-n tau), expected to 1e-12 and sampled to 1 % (4e5 events)."""
    tau, rate = 1e-5, load / 1e-5
    events = poisson_events(torch.tensor([rate], dtype=torch.float64), 4e5 / rate)
    true = {"non_paralysable": rate / (1 + load), "paralysable": rate * math.exp(-load)}
    for kind, recorded in true.items():
        readout = EventReadout(tau, kind)
        live = readout.live(torch.tensor([rate], dtype=torch.float64), ONE_PIXEL)
        assert float(live) * rate == pytest.approx(recorded, rel=1e-12)
        sampled = len(readout.record(events, ONE_PIXEL)) / (4e5 / rate)
        assert sampled == pytest.approx(recorded, rel=0.01)


def _plain_survivors(kind, channel, time, tau):
    """Event by event, as one would on paper."""
    free, kept = {}, [False] * len(time)
    for i in sorted(range(len(time)), key=lambda i: (time[i], i)):
        kept[i] = time[i] >= free.get(channel[i], -math.inf)
        if kept[i] or kind == "paralysable":
            free[channel[i]] = time[i] + tau
    return kept


@settings(max_examples=60, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=40),
    st.sampled_from(["paralysable", "non_paralysable"]),
    st.integers(0, 8),
)
def test_survivors_are_those_of_a_plain_loop(hits, kind, tau):
    """Truth: the rule applied event by event; whole-numbered times, so that ties and limits are exact."""
    channel, time = [c for c, _ in hits], [float(t) for _, t in hits]
    found = survivors(kind, torch.tensor(channel, dtype=torch.int64), torch.tensor(time).double(), float(tau))
    assert found.tolist() == _plain_survivors(kind, channel, time, tau)


def test_modules_share_dead_time_and_pixels_do_not():
    """Two pixels of a module at n tau = 0.5 each: live 1/2 as one channel, 2/3 as two; 1e-12."""
    rates = torch.full((8,), 0.125e5, dtype=torch.float64)
    layout = layout_of(2, 2, 2)
    assert layout.summed(rates).tolist() == [0.5e5, 0.5e5]
    assert EventReadout(1e-5).live(rates, layout).tolist() == pytest.approx([2 / 3] * 8, rel=1e-12)
    alone = EventReadout(1e-5, channel="pixel").live(rates, layout)
    assert alone.tolist() == pytest.approx([1 / 1.125] * 8, rel=1e-12)


@pytest.mark.parametrize("mean", [0.1, 1.0, 3.0])
def test_pile_up_in_a_frame(mean):
    """Poisson with this mean: P(any) = 1 - exp(-x), P(two or more | any) = 1 - x/(e^x - 1); within 1 %."""
    rate = torch.tensor([mean * 8000.0], dtype=torch.float64)
    events = poisson_events(rate, 2e5 / float(rate))
    recorded = FrameReadout(8000.0, keep="sum").record(events, ONE_PIXEL)
    frames = 2e5 / mean
    assert len(recorded) / frames == pytest.approx(1 - math.exp(-mean), rel=0.01)
    piled = float((recorded.energy_kev > 150).double().mean())
    truth = 1 - mean / (math.exp(mean) - 1)
    assert float(FrameReadout(8000.0).pile_up(rate, ONE_PIXEL)) == pytest.approx(truth, rel=1e-9)
    assert piled == pytest.approx(truth, rel=0.01, abs=0.001)


def test_summing_frames_keep_all_energy():
    """Every keV of a frame is in its sum, none is in two; float64, 1e-12."""
    rate = torch.full((8,), 8e3, dtype=torch.float64)
    events = poisson_events(rate, 0.3)
    events = EventList(events.pixel, events.energy_kev.double(), events.time_s)
    recorded = FrameReadout(8000.0, keep="sum").record(events, layout_of(2, 2, 2))
    assert float(recorded.energy_kev.sum()) == pytest.approx(float(events.energy_kev.sum()), rel=1e-12)


def test_pile_up_behind_a_trigger():
    """P = 1 - exp(-r dt) of a Poisson process, sampled to 1 %; both kinds."""
    rate, window = 2e4, 1e-5
    events = poisson_events(torch.tensor([rate], dtype=torch.float64), 4e5 / rate)
    truth = 1 - math.exp(-rate * window)
    for kind in ("paralysable", "non_paralysable"):
        readout = EventReadout(2e-5, kind, pile_up_s=window)
        expected = readout.pile_up(torch.tensor([rate], dtype=torch.float64), ONE_PIXEL)
        assert float(expected) == pytest.approx(truth, rel=1e-12)
        recorded = readout.record(events, ONE_PIXEL)
        assert float((recorded.energy_kev > 150).double().mean()) == pytest.approx(truth, rel=0.01)


def test_largest_signal_spectrum():
    """Three lines at 50, 100 and 150 keV, a mean of 0.9 a frame. A frame records a line if none is above
    it and one is in it: sampled rates to 1 %, their sum to 1e-12."""
    generator = torch.Generator().manual_seed(5)
    rates = torch.tensor([4000.0, 2000.0, 1200.0], dtype=torch.float64)
    events = poisson_events(rates.sum().reshape(1), 60.0, seed=4)
    line = torch.multinomial(rates, len(events), replacement=True, generator=generator)
    events = EventList(events.pixel, 50.0 * (line + 1.0), events.time_s)
    readout = FrameReadout(8000.0)
    above = (rates.flip(0).cumsum(0).flip(0) - rates) / 8000.0
    expected = 8000.0 * torch.exp(-above) * -torch.expm1(-rates / 8000.0)
    recorded = readout.record(events, ONE_PIXEL)
    found = torch.stack([(recorded.energy_kev == e).sum() / 60.0 for e in (50.0, 100.0, 150.0)])
    torch.testing.assert_close(found.double(), expected, rtol=0.01, atol=0)
    live = readout.live(rates.sum().reshape(1), ONE_PIXEL)
    assert float(expected.sum()) == pytest.approx(float(live * rates.sum()), rel=1e-12)


def test_blind_time_is_lost():
    """A quarter of each frame blind: live at rate 0 is 3/4, sampled at 0.5 a frame to 1 %."""
    readout = FrameReadout(1000.0, blind_s=0.00025)
    rate = torch.tensor([500.0], dtype=torch.float64)
    assert float(readout.live(0 * rate, ONE_PIXEL)) == pytest.approx(0.75, rel=1e-12)
    recorded = readout.record(poisson_events(rate, 400.0), ONE_PIXEL)
    assert len(recorded) / 400.0 == pytest.approx(1000 * (1 - math.exp(-0.375)), rel=0.01)


def test_rolling_shutter_shifts_frames_by_row():
    """Rows of 4: row r begins r/4 frame late. Hits at 0.3 and 0.9 frames meet in row 0, part in row 2."""
    layout = layout_of(1, 4, 1)
    pixel = torch.tensor([0, 2, 0, 2])
    time = torch.tensor([0.3, 0.3, 0.9, 0.9], dtype=torch.float64)
    events = EventList(pixel, torch.tensor([10.0, 10.0, 20.0, 20.0]), time)
    rolling = FrameReadout(1.0).record(events, layout)
    assert rolling.pixel.tolist() == [2, 0, 2]
    assert rolling.energy_kev.tolist() == [10.0, 20.0, 20.0]
    assert rolling.time_s.tolist() == [0.0, 0.0, 0.0]
    assert FrameReadout(1.0, shutter="global").record(events, layout).pixel.tolist() == [0, 2]


def test_stamps_have_their_resolution():
    """Stamps are whole steps, at most one step (frames: two) before the event; exact without a step."""
    rate = torch.full((8,), 100.0, dtype=torch.float64)
    events = poisson_events(rate, 1.0)
    layout = layout_of(2, 2, 2)
    exact = EventReadout(0.0).record(events, layout)
    assert torch.equal(exact.time_s, events.time_s)
    stamped = EventReadout(0.0, time_step_s=1e-3).record(events, layout).time_s
    steps = stamped / 1e-3
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-9)
    assert bool(((events.time_s - stamped >= 0) & (events.time_s - stamped < 1e-3 + 1e-12)).all())
    frames = FrameReadout(1e4, shutter="global").record(events, layout).time_s * 1e4
    torch.testing.assert_close(frames, frames.round(), rtol=0, atol=1e-7)


def test_thresholds():
    """Event-driven: too small to trigger, so no dead time either; frames: two small ones may sum above."""
    times = torch.tensor([0.1, 0.1000001], dtype=torch.float64)
    events = EventList(torch.tensor([0, 0]), torch.tensor([6.0, 15.0]), times)
    kept = EventReadout(1e-3, threshold_kev=10.0).record(events, ONE_PIXEL)
    assert kept.energy_kev.tolist() == [15.0]
    small = EventList(events.pixel, torch.tensor([6.0, 7.0]), times)
    assert FrameReadout(1.0, keep="sum", threshold_kev=10.0).record(small, ONE_PIXEL).energy_kev.item() == 13
    assert len(FrameReadout(1.0, threshold_kev=10.0).record(small, ONE_PIXEL)) == 0


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: EventReadout(-1e-6), "dead_time_s"),
        (lambda: EventReadout(float("nan")), "dead_time_s"),
        (lambda: EventReadout(1e-6, "paralyzable"), "paralyzable"),
        (lambda: EventReadout(1e-6, channel="panel"), "panel"),
        (lambda: EventReadout(1e-6, pile_up_s=2e-6), "pile_up_s"),
        (lambda: FrameReadout(0.0), "frame_rate_hz"),
        (lambda: FrameReadout(keep="first"), "first"),
        (lambda: FrameReadout(shutter="snap"), "snap"),
        (lambda: FrameReadout(1000.0, blind_s=0.001), "blind_s"),
        (lambda: FrameReadout(threshold_kev=-1.0), "threshold_kev"),
    ],
)
def test_wrong_constants_are_refused(made, told):
    with pytest.raises(UserError, match=told):
        made()
