"""Modules of cameras, bad pixels, and the whole way through."""

import pytest
import torch
from contracts.readout_contract import layout_of, poisson_events

from data_gen.camera import Camera, load_camera
from data_gen.core.errors import UserError
from data_gen.core.events import EventList, Frame
from data_gen.readout import CameraReadout, EventReadout, FrameReadout, PixelMask, modules_of

LAYOUT = layout_of(2, 2, 2)
FRAMES = (Frame(0.0, 30.0), Frame(100.0, 10.0))


def test_modules_of_cameras():
    """Published: 24 modules of 80 x 80 in six panels of 2 x 2; a smaller panel is one module."""
    camera = load_camera("alpha_spect_mini")
    layout = modules_of(camera)
    assert (layout.modules, layout.shape) == (24, (80, 80))
    assert layout.module.bincount().tolist() == [6400] * 24
    third = layout.pixels_of(2)
    assert set(camera.pixel_row[third].tolist()) == set(range(80, 160))
    assert set(camera.pixel_column[third].tolist()) == set(range(80))
    assert torch.equal(layout.row[third], camera.pixel_row[third] - 80)
    demo = modules_of(load_camera("demo"))
    assert (demo.modules, demo.shape) == (6, (40, 40))


def test_modules_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="evenly"):
        modules_of(load_camera("demo"), 30, 40)
    with pytest.raises(UserError, match="1 x 1"):
        modules_of(load_camera("demo"), 0, 40)
    with pytest.raises(UserError, match=r"0\.\.1"):
        LAYOUT.pixels_of(2)


def test_dead_pixels_give_nothing():
    """Live is 0 there and unchanged in the other module; no event of theirs is recorded."""
    rates = torch.full((8,), 1e4, dtype=torch.float64)
    camera = CameraReadout(LAYOUT, EventReadout(1e-5), PixelMask(dead=(1,)))
    assert camera.live(rates)[[0, 1, 4]].tolist() == pytest.approx([1 / 1.3, 0, 1 / 1.4], rel=1e-12)
    recorded = camera.record(poisson_events(rates, 0.1), FRAMES, torch.Generator())
    assert recorded.pixel.unique().tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_hot_pixels_add_noise():
    """Poisson of 2 hot pixels, 50/s in 40 s: 4000 events, 5 sd; uniform 3-30 keV; in both frames 3:1."""
    mask = PixelMask(hot=(2, 5), hot_rate_cps=50.0)
    none = poisson_events(torch.zeros(8), 1.0)
    noise = mask.apply(none, FRAMES, torch.Generator().manual_seed(1))
    assert abs(len(noise) - 4000) < 5 * 4000**0.5
    assert set(noise.pixel.tolist()) == {2, 5}
    in_first = (noise.time_s >= 0) & (noise.time_s <= 30)
    assert bool((in_first | ((noise.time_s >= 100) & (noise.time_s <= 110))).all())
    assert float(in_first.double().mean()) == pytest.approx(0.75, abs=0.04)
    assert float(noise.energy_kev.double().mean()) == pytest.approx(16.5, abs=0.6)


def test_noise_makes_dead_time():
    """A hot pixel at n tau = 1 halves the live time of its module, expected and sampled (2 %)."""
    rates = torch.full((8,), 10.0, dtype=torch.float64)
    camera = CameraReadout(LAYOUT, EventReadout(1e-3), PixelMask(hot=(0,), hot_rate_cps=1000.0))
    live = camera.live(rates)
    assert live[[1, 5]].tolist() == pytest.approx([1 / 2.04, 1 / 1.04], rel=1e-12)
    frames = (Frame(0.0, 200.0),)
    events = poisson_events(rates, 200.0)
    recorded = camera.record(events, frames, torch.Generator().manual_seed(2))
    share = float((recorded.pixel == 1).sum() + (recorded.pixel == 2).sum() + (recorded.pixel == 3).sum())
    kept = share / float((events.pixel < 4).sum() - (events.pixel == 0).sum())
    assert kept == pytest.approx(1 / 2.04, abs=5 * (0.25 / 6000) ** 0.5)


def test_same_seed_same_record():
    """Bit for bit; another seed gives other noise."""
    camera = CameraReadout(LAYOUT, FrameReadout(), PixelMask(hot=(3,), hot_rate_cps=100.0))
    events = poisson_events(torch.full((8,), 20.0), 40.0)
    one, same, other = (
        camera.record(events, FRAMES, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    for name in ("pixel", "energy_kev", "time_s"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    assert len(one) != len(other) or not torch.equal(one.time_s, other.time_s)


def test_live_at_therapy_rates_is_one():
    """50 counts/s over 24 modules at 8 kHz frames: closed form, losses below 1e-6 (DESIGN: live is given)."""
    layout = modules_of(load_camera("alpha_spect_mini"))
    rate = torch.full((layout.pixels,), 50.0 / layout.pixels, dtype=torch.float64)
    assert float(1 - CameraReadout(layout, FrameReadout()).live(rate).min()) < 1e-6


@pytest.mark.parametrize("rate", [float("nan"), -1.0])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(UserError, match="rates"):
        CameraReadout(LAYOUT, FrameReadout()).live(torch.full((8,), rate))


def test_bad_scans_and_masks_are_refused():
    events = poisson_events(torch.ones(8), 1.0)
    with pytest.raises(UserError, match="frames"):
        CameraReadout(LAYOUT, FrameReadout()).record(events, (), torch.Generator())
    with pytest.raises(UserError, match="camera has 8"):
        CameraReadout(LAYOUT, FrameReadout()).live(torch.ones(7))
    with pytest.raises(UserError, match="pixel 8"):
        CameraReadout(LAYOUT, FrameReadout(), PixelMask(dead=(8,)))
    with pytest.raises(UserError, match="twice"):
        PixelMask(dead=(1,), hot=(1,))
    with pytest.raises(UserError, match="hot_rate_cps"):
        PixelMask(hot=(1,), hot_rate_cps=-1.0)
    with pytest.raises(UserError, match="hot_kev"):
        PixelMask(hot=(1,), hot_kev=(30.0, 3.0))


def test_stops_of_a_rotation_are_modules_of_their_own(tiny_system):
    """Each stop is a panel of the camera (architecture), so dead time is not shared between stops."""
    spec = tiny_system.camera.to_dict()
    spec["panels"] = {"angles_deg": [0.0], "detector_mm": 38.0, "rotation": {"steps": 3}}
    assert modules_of(Camera.from_dict(spec)).modules == 3


def test_an_empty_event_list_stays_empty():
    none = EventList(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.float64))
    for readout in (FrameReadout(), EventReadout(1e-5, pile_up_s=1e-6)):
        assert len(CameraReadout(LAYOUT, readout).record(none, FRAMES, torch.Generator())) == 0


def test_modules_are_counted_along_rows_then_columns(tiny_system):
    """By hand: 6 x 6 pixels in modules of 3 x 2 are 2 down, 3 across; row 4, column 5 of panel 1 is in 11."""
    layout = modules_of(tiny_system.camera, 3, 2)
    pixel = 36 + 4 * 6 + 5
    assert (layout.modules, int(layout.module[pixel]), int(layout.row[pixel])) == (24, 11, 1)
    assert layout.pixels_of(0).tolist() == [0, 1, 6, 7, 12, 13]
