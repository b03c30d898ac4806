"""Times of events in frames whose activity changes, against exponentials; energies at the edges of bins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from data_gen.core.events import Frame
from data_gen.core.grid import EnergyBins, EnergyWindows
from data_gen.forward_model.event_sampling import decay_steps, events_from_counts, steps_of

AXIS = EnergyBins(20.0, 600.0, 4)
HALF_LIFE_S = 2737.0
DECAY = math.log(2) / HALF_LIFE_S
FRAME = Frame(5000.0, 3600.0)
EVENTS = 400_000


def _mean_exponential(frame: Frame, constant: float) -> float:
    """Mean of exp(-constant (t - start of the whole frame)) over a step."""
    passed = constant * frame.duration_s
    return math.exp(-constant * (frame.start_s - FRAME.start_s)) * -math.expm1(-passed) / passed


def _share_before(time_s: float, constant: float) -> float:
    """Share of the decays in the frame that happen before a time."""
    return math.expm1(-constant * (time_s - FRAME.start_s)) / math.expm1(-constant * FRAME.duration_s)


def test_times_follow_each_pixel_and_bin() -> None:
    """One pixel decays with Bi-213, one grows as fast, one is steady: shares before 20 times within 0.4 %
    (5 sigma of 4e5 events; the density is 0.5 % off at most)."""
    constants = torch.tensor([DECAY, -DECAY, 0.0], dtype=torch.float64)

    def rate_at(step: Frame, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        means = [_mean_exponential(step, c) if c else 1.0 for c in constants.tolist()]
        return torch.tensor(means)[pixel] * (1 + energy_bin)

    counts = torch.full((3, 4), EVENTS / 4)
    steps = steps_of(FRAME, DECAY * FRAME.duration_s)
    assert 3 <= len(steps) <= 6
    events = events_from_counts(counts, AXIS, steps, torch.Generator().manual_seed(0), rate_at)
    assert torch.equal(events.histogram(3, AXIS), counts)
    for pixel, constant in enumerate(constants.tolist()):
        times = events.time_s[events.pixel == pixel]
        for k in range(1, 20):
            now = FRAME.start_s + k / 20 * FRAME.duration_s
            exact = _share_before(now, constant) if constant else k / 20
            assert float((times < now).double().mean()) == pytest.approx(exact, abs=4e-3)
    assert FRAME.start_s <= float(events.time_s.min())
    assert float(events.time_s.max()) <= FRAME.end_s


def test_rates_within_steps_are_within_a_per_cent() -> None:
    """Rates in 60 intervals, ten a step, against the exponential: 1 % beside 4 sigma of their counts."""
    steps = steps_of(FRAME, DECAY * FRAME.duration_s)

    def rate_at(step: Frame, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        return torch.full(pixel.shape, _mean_exponential(step, DECAY))

    counts = torch.full((1, 4), 500_000.0)
    events = events_from_counts(counts, AXIS, steps, torch.Generator().manual_seed(1), rate_at)
    edges = torch.linspace(FRAME.start_s, FRAME.end_s, 61, dtype=torch.float64)
    found = torch.histogram(events.time_s, edges).hist
    shares = torch.tensor([_share_before(float(t), DECAY) for t in edges], dtype=torch.float64)
    exact = shares.diff() * len(events)
    assert bool(((found - exact).abs() < 0.01 * exact + 4 * exact.sqrt()).all())
    # Half-way, 1.58 times as many before as after; uniform times gave 1.
    half = float((events.time_s < FRAME.start_s + 1800).sum())
    assert half / (len(events) - half) == pytest.approx(2 ** (1800 / HALF_LIFE_S), rel=0.01)


def test_steady_frames_are_as_they_were() -> None:
    """Radium over an hour changes by 0.25 %: one step, and the very events that need no rates."""
    slow = math.log(2) / (11.43 * 86400)
    assert steps_of(FRAME, slow * FRAME.duration_s) == (FRAME,)
    assert decay_steps((FRAME,), [slow]) is None
    counts = torch.full((2, 4), 50.0)

    def rate_at(step: Frame, pixel: Tensor, energy_bin: Tensor) -> Tensor:
        raise AssertionError("a steady frame asks for no rates")

    one = events_from_counts(counts, AXIS, (FRAME,), torch.Generator().manual_seed(2), rate_at)
    other = events_from_counts(counts, AXIS, (FRAME,), torch.Generator().manual_seed(2))
    assert torch.equal(one.time_s, other.time_s)
    assert torch.equal(one.energy_kev, other.energy_kev)


def test_steps_of_several_frames_hold_their_share_of_the_decays() -> None:
    """Two frames half a half-life apart, two maps: exponential means, and 1 over all frames (1e-12)."""
    frames = (Frame(0.0, 600.0), Frame(HALF_LIFE_S, 1200.0))
    steps = decay_steps(frames, [DECAY, 0.5 * DECAY])
    assert steps is not None
    durations = torch.tensor([step.duration_s for step in steps], dtype=torch.float64)
    factors = torch.stack(list(steps.values()))
    assert torch.allclose((factors * durations[:, None]).sum(0) / 1800, torch.ones(2).double(), atol=1e-12)
    first, second = (
        sum(step.duration_s * float(f[0]) for step, f in steps.items() if (step.start_s >= 600) is later)
        for later in (False, True)
    )
    exact = 0.5 * math.expm1(-DECAY * 1200) / math.expm1(-DECAY * 600)
    assert second / first == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("low", [20.1, 80.1, 511.3])
def test_energies_stay_in_bins_a_few_roundings_wide(low: float) -> None:
    """Edges that single precision cannot hold: no energy falls into the bin before or behind its own."""
    ulp = float(torch.nextafter(torch.tensor(low), torch.tensor(1e9)) - torch.tensor(low))
    axis = EnergyWindows([low - 3.3 * ulp, low, low + 3.3 * ulp, low + 6.6 * ulp])
    counts = torch.full((5, 3), 200.0)
    events = events_from_counts(counts, axis, (FRAME,), torch.Generator().manual_seed(3))
    assert torch.equal(events.histogram(5, axis), counts)
