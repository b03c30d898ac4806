"""Simulated scans of a short-lived nuclide: times of events by its decay, starts while some is left."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.random import seeded_generator
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.forward_model.system import ImagingSystem
from data_gen.nuclides import decay_chain
from data_gen.phantoms import MousePhantom
from data_gen.readout import CameraReadout, EventReadout, modules_of
from data_gen.simulation.plan import DatasetPlan, usual_start_s
from data_gen.simulation.scan import ScanSimulator

FRAME_S = 3600.0


@pytest.fixture(scope="module")
def system(tiny_system: ImagingSystem) -> ImagingSystem:
    """The tiny camera, in front of Bi-213 (45.6 min) and what follows it."""
    parts = (tiny_system.camera, decay_chain("Bi-213"), tiny_system.grid, tiny_system.energy_bins)
    return ImagingSystem(*parts, options=ModelOptions(reference_energies=2, scatter_terms=()))


@pytest.fixture(scope="module")
def model(system: ImagingSystem, tmp_path_factory: pytest.TempPathFactory) -> HyperspectralForwardModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSPI_CACHE_DIR", str(tmp_path_factory.mktemp("matrices")))
        return system.forward_model()


def plan(system: ImagingSystem, **changes: Any) -> DatasetPlan:
    settings: dict[str, Any] = {
        "sizes": {"train": 1},
        "counts": [2e5, 2e5],
        "injected_bq": [1.0, 1e12],
        "duration_s": [FRAME_S, FRAME_S],
        "start_s": [1800.0, 1800.0],
        "phantom": MousePhantom({"soft_tissue": [0.5, 2.0], "liver": [5.0, 10.0]}, freed_fraction=[0.0, 0.0]),
    } | changes
    parts = {name: getattr(system, name) for name in ("camera", "chain", "grid", "energy_bins", "options")}
    return DatasetPlan(**parts, **settings)


def test_an_hour_of_bismuth_decays_in_the_stamps(
    system: ImagingSystem, model: HyperspectralForwardModel
) -> None:
    """First half over second: 2^(30 min / half-life) = 1.58 within 1 %; times that ignore decay give 1."""
    made = plan(system)
    readout = CameraReadout(modules_of(system.camera), EventReadout(0.0))
    scan = ScanSimulator(model, made.phantom, made.limits, (), readout).scan(0, seeded_generator("scan", 0))
    half = float((scan.events.time_s < 1800.0 + FRAME_S / 2).sum())
    exact = 2 ** (FRAME_S / 2 / system.chain.half_life_s("Bi-213"))
    assert half / (scan.counts - half) == pytest.approx(exact, rel=0.01)


def test_sampled_events_decay_too(system: ImagingSystem, model: HyperspectralForwardModel) -> None:
    """The same of events drawn by the model itself from a mean activity, in two frames an hour apart."""
    activity = torch.zeros(1, len(system.groups.names), *system.grid.shape)
    activity[:, 0, 2:4, 2:4, 2:4] = 1.0
    density = torch.zeros(1, *system.grid.shape)
    frames = (Frame(0.0, 1200.0), Frame(4800.0, 1200.0))
    rate = float(model.A(activity, density).sum())
    (events,) = model.sample_events(
        2e5 / (2400 * rate) * activity, density, frames, seeded_generator("frames")
    )
    first = float((events.time_s < 1200).sum())
    exact = 2 ** (4800 / system.chain.half_life_s("Bi-213"))
    assert first / (len(events) - first) == pytest.approx(exact, rel=0.02)


def test_scans_start_while_something_is_left(system: ImagingSystem, tiny_system: ImagingSystem) -> None:
    """Half a half-life to three of them for Bi-213; an hour to two days for Ra-223, as it always was."""
    low, high = plan(system, start_s=None).limits.start_s
    assert (low, high) == pytest.approx((0.5 * 2735, 3 * 2735), rel=0.01)
    assert usual_start_s(tiny_system.chain) == (3600.0, 172_800.0)
    with pytest.raises(UserError, match=r"start_s ends at 172800 s, 63 half-lives of Bi-213.*less than 1 %"):
        plan(system, start_s=[3600.0, 172_800.0])


def test_dead_pixels_record_nothing(system: ImagingSystem) -> None:
    """They are part of the plan, of its hash, and of the system that shards keep."""
    whole, holed = (dataclasses.replace(plan(system), dead_pixels=dead) for dead in ((), (3, 1)))
    assert holed.system.dead_pixels == (1, 3)
    assert whole.sha256 != holed.sha256
    assert ImagingSystem.from_dict(holed.system.to_dict()).fingerprint == holed.system.fingerprint
    assert "dead_pixels" not in whole.system.to_dict()
