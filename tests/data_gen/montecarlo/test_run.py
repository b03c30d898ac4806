"""Whole runs: sensitivity by closed form, nature against weights, errors, seeds, mistakes."""

import math
from collections.abc import Callable

import pytest
import torch

from data_gen.camera import Camera, load_camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyBins, VoxelGrid
from data_gen.materials import interaction_probability
from data_gen.montecarlo import CLASSES, Body, Lines, PointSource, Tally, VoxelSource, simulate
from data_gen.montecarlo.photons import OPEN

CENTRE = PointSource([(0.0, 0.0, 0.0)])


def _line(*energy_kev: float) -> Lines:
    energy = torch.tensor(energy_kev, dtype=torch.float64)
    return Lines(energy, torch.full_like(energy, 0.5))


def _whole(camera: Camera) -> torch.Tensor:
    return torch.zeros(camera.pixel_count, dtype=torch.int64)


@pytest.mark.parametrize("off_mm", [0.0, 6.0])
def test_sensitivity_of_a_knife_edge(off_mm: float, pinhole: Camera) -> None:
    """Truth: d^2 sin^3 / (16 h^2) times the probability to interact along the slant path; z < 4 and 0.3 %."""
    energy, height = 82.0, 20.0
    tally = simulate(pinhole, PointSource([(0.0, off_mm, 0.0)]), _line(energy), 40_000, seed=1)
    sine = height / math.hypot(height, off_mm)
    interacts = float(interaction_probability("CdTe", energy, 2.0 / sine))
    expected = 0.5 * sine**3 / (16 * height**2) * interacts
    found, error = float(tally.totals.mean[OPEN, 0]), float(tally.totals.error[OPEN, 0])
    assert abs(found - expected) < 4 * error + 0.003 * expected
    assert error < 0.005 * expected


def test_weights_follow_nature(lofts: Camera) -> None:
    """Truth: the analog run, for every class of history, in interactions and in recorded energies; z < 4.

    A water-like body, four wide loft holes with septa; 82 and 300 keV.
    """
    grid = VoxelGrid((5, 5, 5), 4.0)
    body = Body(grid, torch.full(grid.shape, 1.0, dtype=torch.float64))
    source = VoxelSource(grid, torch.arange(125, dtype=torch.float64).reshape(grid.shape))
    bins = EnergyBins(20.0, 320.0, 10)
    runs: list[Tally] = [
        simulate(lofts, source, _line(82.0, 300.0), count, seed, body, bins, _whole(lofts), forced=forced)
        for forced, count, seed in ((False, 600_000, 1), (True, 60_000, 2))
    ]
    for name in ("totals", "spectrum", "arrivals"):
        analog, forced = (getattr(run, name) for run in runs)
        seen = analog.mean * 600_000 > 20  # of fewer photons the error is not known
        z = (analog.mean - forced.mean).abs() / (analog.error**2 + forced.error**2).sqrt().clamp_min(1e-12)
        # 20 batches give t with 19 degrees of freedom: 5.4 is as rare as 4 sigma.
        assert float(z[seen].max()) < 5.4, (name, z)
        assert int(seen.sum()) >= 6


def test_error_of_cells_and_of_batches(lofts: Camera) -> None:
    """Truth: both estimate the same standard error of a total; 20 batches know it to 16 %; 3 sigma."""
    tally = simulate(lofts, CENTRE, _line(154.0), 60_000, seed=3, regions=_whole(lofts))
    by_cells, by_batches = tally.interactions.error[OPEN, 0, 0], tally.totals.error[OPEN, 0]
    assert float(by_batches / by_cells) == pytest.approx(1.0, abs=0.5)
    assert torch.allclose(tally.interactions.mean[:, 0], tally.totals.mean, rtol=1e-9)
    assert torch.allclose(tally.counts.mean[:, 0], tally.spectrum.mean, rtol=1e-9)


def test_same_seed_same_result(lofts: Camera) -> None:
    """Truth: equal seeds agree bit by bit, others do not; progress ends at 1."""
    told: list[float] = []
    runs = [
        simulate(lofts, CENTRE, _line(82.0), 2000, seed, progress=told.append).counts.mean
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert told[-1] == 1.0


def test_image_turns_with_the_panels(wide_camera: Callable[..., Camera]) -> None:
    """Truth: by symmetry two opposite panels see a source at the centre alike; z < 4."""
    camera = wide_camera((0.0, 180.0), shape="loft_hole", diameter_mm=2.5, apertures=[2, 2], septa=True)
    regions = camera.pixel_panel
    seen = simulate(camera, CENTRE, _line(82.0), 20_000, seed=1, regions=regions).interactions
    difference = float((seen.mean[OPEN, 0] - seen.mean[OPEN, 1]).abs())
    assert difference < 4 * float((seen.variance[OPEN, 0] + seen.variance[OPEN, 1]).sqrt())


def test_rotating_camera_shares_its_time(pinhole: Camera) -> None:
    """Truth: a panel at each of 3 positions sees its centre as the fixed one, a third of the time; z < 4."""
    plain = pinhole.to_dict()
    plain["panels"]["rotation"] = {"steps": 3, "arc_deg": 360.0}
    turning = Camera.from_dict(plain)
    fixed = simulate(pinhole, CENTRE, _line(82.0), 20_000, seed=1, regions=_whole(pinhole))
    turned = simulate(turning, CENTRE, _line(82.0), 20_000, seed=2, regions=_whole(turning))
    for name, ratio in (("totals", 3.0), ("spectrum", 1.0)):
        one, many = (getattr(tally, name).summed(1) for tally in (fixed, turned))
        error = float((many.error[OPEN] ** 2 + (ratio * one.error[OPEN]) ** 2).sqrt())
        assert abs(float(many.mean[OPEN]) - ratio * float(one.mean[OPEN])) < 5.4 * error


def test_classes_are_named() -> None:
    """Truth: the five histories, in the order of the axis."""
    assert CLASSES == ("open", "penetrated", "object", "fluorescence", "collimator")


def test_mistakes_are_told(lofts: Camera) -> None:
    """Truth: one sentence that names the key, its value and what would be right."""
    with pytest.raises(UserError, match="photons is 0"):
        simulate(lofts, CENTRE, _line(82.0), 0, seed=1)
    with pytest.raises(UserError, match=r"regions is \[3\]"):
        simulate(lofts, CENTRE, _line(82.0), 10, seed=1, regions=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(UserError, match="photons_per_decay"):
        simulate(lofts, CENTRE, Lines(torch.tensor([82.0]), torch.tensor([0.0])), 10, seed=1)
    with pytest.raises(UserError, match="kind cdte"):
        simulate(load_camera("nai_pinhole"), CENTRE, _line(82.0), 10, seed=1)
    grid = VoxelGrid((2, 2, 2), 1.0)
    with pytest.raises(UserError, match=r"object\.density is \[3\]"):
        Body(grid, torch.zeros(3))
    with pytest.raises(UserError, match=r"object\.density has -1"):
        Body(grid, torch.full(grid.shape, -1.0))
    with pytest.raises(UserError, match=r"source\.activity is \[3\]"):
        VoxelSource(grid, torch.zeros(3))
    with pytest.raises(UserError, match=r"source\.activity must be 8 numbers"):
        VoxelSource(grid, torch.zeros(grid.shape))
    with pytest.raises(UserError, match=r"source\.points_mm is empty"):
        PointSource([])
