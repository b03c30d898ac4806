"""Gaussian filters and principal components of projections, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from hspi_learn.classical import PanelFilter, PrincipalProjections, smoothed_on_panels, tuned_panel_filter
from hspi_learn.data import PanelLayout

LAYOUT = PanelLayout(2, 12, 10)
PIXELS = 240


def counts(seed: int = 0, windows: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((2, PIXELS, windows), 4.0), generator=generator)


class TestPanelFilter:
    def test_no_width_is_the_counts_themselves(self) -> None:
        """The closed form at FWHM 0: bit for bit, but for dead pixels, which are 0."""
        live = torch.ones(PIXELS)
        live[7] = 0
        found = PanelFilter(LAYOUT, live, (0.0, 0.0, 0.0))(counts())
        assert torch.equal(found, counts() * live[:, None])

    def test_a_point_becomes_a_gaussian(self) -> None:
        """Far from the edge each pixel gets the Gaussian's integral over it, a product of erf (1e-3 of the
        peak); each window has its own width, and panels do not leak into each other."""
        images = LAYOUT.images(torch.zeros(1, PIXELS, 3))
        images[0, 0, :, 6, 5] = 1.0
        widths = (0.0, 1.5, 2.0)
        found = LAYOUT.images(PanelFilter(LAYOUT, torch.ones(PIXELS), widths)(LAYOUT.counts(images)))
        edges = torch.arange(-2, 4, dtype=torch.float64) - 0.5
        for window in (1, 2):
            line = (torch.erf(edges * 2.3548 / widths[window] / 2**0.5) / 2).diff()
            wanted = (line[:, None] * line).float()
            error = (found[0, 0, window, 4:9, 3:8] - wanted).abs().max()
            assert float(error) < 1e-3 * float(wanted.max())
        assert float(found[0, 1].abs().max()) == 0

    def test_a_uniform_panel_stays_uniform(self) -> None:
        """Up to its edges and around dead pixels, 1e-5."""
        live = torch.ones(1, 2, 1, 12, 10)
        live[0, 0, 0, 3, 4] = 0
        found = smoothed_on_panels(5.0 * live, live, 3.0)
        torch.testing.assert_close(found, 5.0 * live, rtol=1e-5, atol=1e-5)

    def test_tuning_finds_the_best_width_of_each_window(self) -> None:
        """Window 0 is free of noise (any width blurs it), window 1 uniform (any width helps)."""
        generator = torch.Generator().manual_seed(1)
        truth = torch.full((2, PIXELS, 2), 3.0)
        truth[:, :, 0] = 30 * torch.rand(2, PIXELS, generator=generator)
        noisy = torch.stack((truth[:, :, 0], torch.poisson(truth[:, :, 1], generator=generator)), dim=2)
        found = tuned_panel_filter(LAYOUT, torch.ones(PIXELS), [(noisy, truth)], (0.0, 2.0, 6.0))
        assert found.fwhm_pixels == (0.0, 6.0)

    def test_settings_that_mean_nothing(self) -> None:
        with pytest.raises(UserError, match="fwhm_pixels holds -1"):
            PanelFilter(LAYOUT, torch.ones(PIXELS), (-1.0,))
        with pytest.raises(UserError, match="at least one width"):
            tuned_panel_filter(LAYOUT, torch.ones(PIXELS), [], ())
        with pytest.raises(UserError, match="no validation scans"):
            tuned_panel_filter(LAYOUT, torch.ones(PIXELS), [], (1.0,))


def subjects(number: int, windows: int = 3) -> Tensor:
    """Expected counts whose shares vary in two directions, [scan, pixel, window]."""
    generator = torch.Generator().manual_seed(2)
    base = 0.5 + torch.rand(PIXELS, windows, generator=generator)
    ways = torch.randn(2, PIXELS, 1, generator=generator) * torch.tensor([1.0, -0.5, 0.2])[:windows]
    ways = ways - ways.mean(dim=(1, 2), keepdim=True)
    weights = torch.randn(number, 2, generator=generator).clamp(-2, 2) * torch.tensor([0.15, 0.05])
    shares = base / base.sum() * (1 + torch.einsum("sk,kpw->spw", weights, ways).clamp(-0.9, 3))
    return 2e5 * shares / shares.sum((1, 2), keepdim=True)


class TestPrincipalProjections:
    def test_two_directions_are_found_and_given_back(self) -> None:
        """Noise-free scans of many counts, of which two components tell nearly all: error below 5 % of the
        deviation from the mean scan."""
        truth = subjects(60)
        first = PrincipalProjections(LAYOUT, 3, components=8, spectra=3)
        first.fit(list(truth))
        with torch.no_grad():
            found = first(1e3 * truth[:5], torch.ones(PIXELS)) / 1e3
        deviation = (truth[:5] - truth.mean(0)).norm()
        assert float((found - truth[:5]).norm() / deviation) < 0.05
        assert (
            float(
                (first.components[:2].flatten(1) @ first.components[:2].flatten(1).T - torch.eye(2))
                .abs()
                .max()
            )
            < 1e-4
        )

    def test_it_is_the_best_linear_estimate(self) -> None:
        """Of Poisson counts of new scans it has less error than the mean scan, than the counts, and than the
        same with ten times or a tenth of the variances."""
        truth = subjects(200)
        first = PrincipalProjections(LAYOUT, 3, components=2, spectra=3)
        first.fit(list(truth[:150]))
        few = truth[150:] / 200
        noisy = torch.poisson(few, generator=torch.Generator().manual_seed(3))

        def error(estimate: Tensor) -> float:
            return float((estimate - few).square().sum())

        with torch.no_grad():
            own = error(first(noisy, torch.ones(PIXELS)))
            assert own < error(noisy)
            assert own < error(few.sum((1, 2), keepdim=True) * first.mean)
            for factor in (0.05, 20.0):
                first.variances *= factor
                assert own < error(first(noisy, torch.ones(PIXELS)))
                first.variances /= factor

    def test_variances_without_truth_are_those_with_it(self) -> None:
        """From halves of noisy counts: the two true variances within 30 %, that of noise alone near 0."""
        truth = subjects(400) / 20
        generator = torch.Generator().manual_seed(4)
        halves = [[torch.poisson(scan / 2, generator=generator) for scan in truth] for _ in range(2)]
        told, blind = (PrincipalProjections(LAYOUT, 3, components=3, spectra=3) for _ in range(2))
        told.fit(list(truth))
        blind.fit(list(truth), (halves[0], halves[1]))
        torch.testing.assert_close(blind.variances[:2], told.variances[:2], rtol=0.3, atol=0)
        assert float(blind.variances[2]) < 0.1 * float(told.variances[1])

    def test_dead_pixels_are_left_out(self) -> None:
        """With a third of the pixels dead the others are estimated as well as the components allow: what the
        dead ones hold changes nothing, and they come out as 0."""
        truth = subjects(60)
        first = PrincipalProjections(LAYOUT, 3, components=4, spectra=3)
        first.fit(list(truth))
        live = (torch.arange(PIXELS) % 3 > 0).float()
        with torch.no_grad():
            found = first(1e3 * truth[:5] * live[:, None], live) / 1e3
        assert float(found[:, live == 0].abs().max()) == 0
        deviation = (truth[:5] - truth.mean(0))[:, live > 0].norm()
        assert float((found - truth[:5])[:, live > 0].norm() / deviation) < 0.1

    def test_an_empty_scan_expects_nothing(self) -> None:
        first = PrincipalProjections(LAYOUT, 3, components=4)
        first.fit(list(subjects(20)))
        assert float(first(torch.zeros(1, PIXELS, 3), torch.ones(PIXELS)).abs().max()) < 1e-5

    def test_settings_that_mean_nothing(self) -> None:
        with pytest.raises(UserError, match="components is 0"):
            PrincipalProjections(LAYOUT, 3, components=0)
