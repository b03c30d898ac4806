"""What every readout must hold to, whatever its electronics."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import EventList
from data_gen.readout import ModuleLayout, Readout


def layout_of(modules: int, rows: int, columns: int) -> ModuleLayout:
    """Modules beside each other."""
    pixel = torch.arange(modules * rows * columns)
    return ModuleLayout(pixel // (rows * columns), pixel // columns % rows, (rows, columns))


def poisson_events(rate_cps: torch.Tensor, duration_s: float, seed: int = 0) -> EventList:
    """Poisson processes of these rates [pixel], 100 keV each, in time order."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(rate_cps * duration_s, generator=generator).to(torch.int64)
    pixel = torch.arange(len(rate_cps)).repeat_interleave(counts)
    time = torch.rand(len(pixel), generator=generator, dtype=torch.float64) * duration_s
    order = time.argsort()
    return EventList(pixel[order], torch.full((len(pixel),), 100.0), time[order])


class ReadoutContract:
    """Subclasses give ``readout`` and ``busy_cps``, a rate per pixel that costs a good part of them."""

    readout: Callable[[], Readout]
    busy_cps: float

    layout = layout_of(2, 2, 2)

    def _rates(self) -> torch.Tensor:
        return torch.linspace(0.5, 1.5, self.layout.pixels, dtype=torch.float64) * self.busy_cps

    def test_sampled_losses_are_the_expected_ones(self):
        """Recorded over ideal events against the closed form: within 1 % (2e5 events, sd 0.2 %)."""
        rates = self._rates()
        duration = 2e5 / float(rates.sum())
        events = poisson_events(rates, duration)
        expected = float((rates * self.readout().live(rates, self.layout)).sum()) * duration
        assert len(self.readout().record(events, self.layout)) == pytest.approx(expected, rel=0.01)

    def test_nothing_is_lost_at_low_rates(self):
        """The limit of rate 0 is live = 1 (less the blind share, here 0) and no pile-up, to 1e-6."""
        rates = torch.full((self.layout.pixels,), 1e-9 * self.busy_cps, dtype=torch.float64)
        for rate in (rates, 0 * rates):
            torch.testing.assert_close(
                self.readout().live(rate, self.layout), torch.ones_like(rate), rtol=0, atol=1e-6
            )
            assert float(self.readout().pile_up(rate, self.layout).abs().max()) < 1e-6

    def test_live_is_differentiable_in_the_rates(self):
        """Autograd against finite differences in float64, and finite at rate 0."""
        rates = (self._rates() / self.busy_cps).requires_grad_()

        def live(x: torch.Tensor) -> torch.Tensor:
            return self.readout().live(x * self.busy_cps, self.layout)

        assert torch.autograd.gradcheck(live, (rates,))
        zero = torch.zeros_like(rates, requires_grad=True)
        live(zero).sum().backward()
        assert zero.grad is not None
        assert bool(torch.isfinite(zero.grad).all())
        assert bool((zero.grad < 0).all())

    def test_more_events_live_less(self):
        """Dead time only grows with the rate; shares stay within 0 and 1."""
        shares = [self.readout().live(k * self._rates(), self.layout) for k in (0.1, 1.0, 10.0)]
        for one, more in pairwise(shares):
            assert bool((more < one).all())
        assert bool(((shares[2] > 0) & (shares[0] <= 1)).all())

    def test_recorded_events_are_in_time_order_and_of_the_pixels_that_saw(self):
        """None in a pixel that saw none, no stamp later than the scan; the order given does not matter."""
        rates = self._rates()
        rates[3] = 0.0
        events = poisson_events(rates, 2e4 / float(rates.sum()), seed=1)
        shuffled = events.select(torch.randperm(len(events), generator=torch.Generator().manual_seed(2)))
        recorded, again = (self.readout().record(e, self.layout) for e in (events, shuffled))
        assert bool((recorded.time_s.diff() >= 0).all())
        assert 3 not in recorded.pixel
        assert float(recorded.time_s.max()) <= float(events.time_s.max())
        assert sorted(
            zip(*map(torch.Tensor.tolist, (recorded.time_s, recorded.pixel)), strict=True)
        ) == sorted(zip(*map(torch.Tensor.tolist, (again.time_s, again.pixel)), strict=True))

    def test_energy_is_not_made(self):
        """What is recorded holds at most the energy that came in, and no event less than its own."""
        events = poisson_events(self._rates(), 2e4 / float(self._rates().sum()), seed=3)
        recorded = self.readout().record(events, self.layout)
        assert float(recorded.energy_kev.double().sum()) <= float(events.energy_kev.double().sum())
        assert float(recorded.energy_kev.min()) >= 100.0

    def test_an_empty_scan_is_an_empty_record(self):
        """No events in, no events out."""
        events = poisson_events(0 * self._rates(), 1.0)
        assert len(self.readout().record(events, self.layout)) == 0

    @pytest.mark.parametrize("energy", [float("nan"), -1.0, float("inf")])
    def test_events_that_are_none_are_refused(self, energy):
        """One sentence that names the column."""
        bad = EventList(torch.tensor([0]), torch.tensor([energy]), torch.zeros(1, dtype=torch.float64))
        with pytest.raises(UserError, match="energy_kev"):
            self.readout().record(bad, self.layout)

    def test_foreign_pixels_and_weights_are_refused(self):
        """One sentence that says what would be right."""
        one = torch.ones(1, dtype=torch.float64)
        with pytest.raises(UserError, match=r"0\.\.7"):
            self.readout().record(EventList(torch.tensor([8]), one, one), self.layout)
        with pytest.raises(UserError, match="weights"):
            self.readout().record(EventList(torch.tensor([0]), one, one, one), self.layout)
