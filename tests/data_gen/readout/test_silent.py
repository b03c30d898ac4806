"""Panels and pixels that recorded nothing: told from those that chance left empty."""

from __future__ import annotations

import pytest
import torch

from data_gen.camera import load_camera
from data_gen.readout import empty_pixels, silent_panels

DEMO = load_camera("demo")


def _counts(mean: float, seed: int = 0) -> torch.Tensor:
    return torch.poisson(torch.full((DEMO.pixel_count,), mean), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("mean", "found"), [(1.0, (2,)), (1e-3, ())])
def test_a_panel_without_counts_is_silent(mean: float, found: tuple[int, ...]) -> None:
    """One panel of six at 0 beside 1,600 counts each; beside 1.6 counts each it may be chance."""
    counts = _counts(mean)
    counts[DEMO.pixel_panel == 2] = 0.0
    assert silent_panels(counts, DEMO) == found


def test_quiet_dead_and_empty_cameras_have_no_silent_panel() -> None:
    """A panel that is known to be dead, one that sees a tenth of the others, and a scan without counts."""
    counts, off = _counts(1.0), DEMO.pixel_panel == 2
    counts[off] = 0.0
    assert silent_panels(counts, DEMO, (~off).double()) == ()
    counts[off] = _counts(0.1, seed=1)[off]
    assert silent_panels(counts, DEMO) == ()
    assert silent_panels(torch.zeros(DEMO.pixel_count), DEMO) == ()


@pytest.mark.parametrize(("mean", "named"), [(3.0, 0), (30.0, 960)])
def test_dead_pixels_are_told_and_named_where_counts_suffice(mean: float, named: int) -> None:
    """One pixel in ten dead: at 3 counts a pixel their number shows, at 30 each of them; none is invented."""
    expected, counts = torch.full((DEMO.pixel_count,), mean), _counts(mean)
    assert not empty_pixels(counts, expected).too_many
    dead = torch.randperm(DEMO.pixel_count, generator=torch.Generator().manual_seed(2))[:960]
    counts[dead] = 0.0
    found = empty_pixels(counts, expected)
    assert found.too_many
    assert set(found.silent) == (set(dead.tolist()) if named else set())
    expected[dead] = 0.0  # once they are known, nothing is amiss
    assert not empty_pixels(counts, expected).too_many
