"""The forward model around its projector: recording, energy bins, events, background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from referees.small_systems import few_collimator_photons
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.events import Frame
from data_gen.core.grid import EnergyBins, EnergyWindows, VoxelGrid
from data_gen.forward_model.block_terms import SCATTER_TERMS, ScatterTermName
from data_gen.forward_model.event_sampling import draw_counts
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain
from data_gen.projector import MatrixProjector, RayProjector, RaySampling

GRID = VoxelGrid((4, 5, 6), 4.5)
FEW = RaySampling(rays=12, plate_steps=4)


def camera(**panels: object) -> Camera:
    """A ring of two panels, 8x8 pixels behind one aperture each."""
    return Camera.from_dict(
        {
            "name": "two",
            "panels": {"angles_deg": [0.0, 90.0], "detector_mm": 38.0, **panels},
            "collimator": {
                "material": "tungsten",
                "plane_mm": 28.0,
                "plate_mm": 8.0,
                "shape": "loft_hole",
                "diameter_mm": 1.0,
                "apertures": [1, 1],
            },
            "detector": {
                "material": "CdTe",
                "thickness_mm": 2.0,
                "rows": 8,
                "columns": 8,
                "pitch_mm": 1.5,
                "background_cps_per_kev": 1e-6,
                "response": {"kind": "cdte"},
            },
        }
    )


@dataclass(frozen=True)
class Sharing:
    """A response whose charge is recorded by the pixel itself and by the one in the next row."""

    offsets: tuple[tuple[int, int], ...] = ((0, 0), (1, 0))

    def kernel(self, energy_kev: Tensor, edges_kev: Tensor) -> Tensor:
        inside = (energy_kev[:, None] >= edges_kev[:-1]) & (energy_kev[:, None] < edges_kev[1:])
        return torch.stack((0.7 * inside, 0.3 * inside))


def model(
    of: Camera,
    axis: object = None,
    projector: object = None,
    scatter_terms: tuple[ScatterTermName, ...] = SCATTER_TERMS,
) -> HyperspectralForwardModel:
    bins = axis or EnergyBins(20, 600, 29)

    return HyperspectralForwardModel(
        of,
        decay_chain("Pb-212"),
        GRID,
        bins,
        projector=projector or partial(RayProjector, sampling=FEW),
        options=ModelOptions(2, scatter_terms),
    )


@pytest.fixture(scope="module", autouse=True)
def _few_photons():
    """All that is tested here holds whatever numbers scatter in the collimator has."""
    with few_collimator_photons():
        yield


@pytest.fixture(scope="module")
def scene() -> tuple[HyperspectralForwardModel, Tensor, Tensor]:
    """The model with activity of all maps and a body of soft tissue."""
    two = model(camera())
    activity = torch.rand(1, len(two.groups.names), *GRID.shape, generator=torch.Generator().manual_seed(0))
    return two, 1e3 * activity, torch.full((1, *GRID.shape), 1.0)


def test_windows_are_sums_of_bins(scene):
    """A window records what its bins record together (1e-5, float32)."""
    two, activity, density = scene
    fine = two.A(activity, density)
    coarse = two.with_energy_bins(EnergyWindows([60, 100, 220, 260, 600])).A(activity, density)
    edges = two.energy_bins.edges_kev
    for k, (low, high) in enumerate([(60, 100), (100, 220), (220, 260), (260, 600)]):
        inside = (edges[:-1] >= low) & (edges[1:] <= high)
        torch.testing.assert_close(coarse[..., k], fine[..., inside].sum(-1), rtol=1e-5, atol=1e-9)


def test_rows_of_events_are_rows_of_the_histogram(scene):
    """project_at gives project's values at events, and back_project_at its transpose's part (1e-5)."""
    two, activity, density = scene
    kept = two.attenuation(density)
    pixel, energy = torch.tensor([3, 70, 70, 127]), torch.tensor([2, 11, 3, 20])
    whole = two.project(activity, kept)
    torch.testing.assert_close(two.project_at(activity, kept, pixel, energy), whole[0, pixel, energy])
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    dense = torch.zeros(1, two.pixels, two.energy_bins.count)
    dense[0, pixel, energy] = values
    torch.testing.assert_close(
        two.back_project_at(values, kept, pixel, energy), two.back_project(dense, kept), rtol=1e-4, atol=1e-9
    )


def test_parts_together_are_parts_one_by_one(scene):
    """Regions of two maps that pass all terms at once: as each alone (1e-5 of the largest), and their sum is
    the whole."""
    two, activity, density = scene
    kept = two.attenuation(density)
    left = torch.zeros(GRID.shape)
    left[..., :3] = 1
    maps = [0, 0, len(two.groups.names) - 1]
    parts = torch.stack([activity[0, 0] * left, activity[0, 0] * (1 - left), activity[0, maps[2]]])
    found = two.project_parts(parts, maps, kept)
    for part, m, counts in zip(parts, maps, found, strict=True):
        alone = torch.zeros_like(activity)
        alone[0, m] = part
        expected = two.project(alone, kept)[0]
        torch.testing.assert_close(counts, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    both = torch.zeros_like(activity)
    both[0, maps] = activity[0, maps]
    torch.testing.assert_close(found.sum(0), two.project(both, kept)[0], rtol=1e-4, atol=1e-9)


def test_spectrum_is_the_sum_over_pixels(scene):
    """The spectrum of the whole camera, never held by pixel, is that of all its pixels (1e-4, float32)."""
    two, activity, density = scene
    kept = two.attenuation(density)
    by_pixel = two.project(activity, kept)[0] + two.background_rate()
    torch.testing.assert_close(two.spectrum(activity, kept)[0], by_pixel.sum(0), rtol=1e-4, atol=0)


def test_sensitivity_is_the_transpose_of_ones(scene):
    """Counts a second per Bq, without a dense array, are what ones send back (1e-4, float32)."""
    two, _, density = scene
    kept = two.attenuation(density)
    ones = torch.ones(1, two.pixels, two.energy_bins.count)
    torch.testing.assert_close(two.sensitivity(kept), two.back_project(ones, kept), rtol=1e-4, atol=0)


def test_charge_goes_to_the_next_row():
    """With 30 % of the charge recorded one row on, counts are 0.7 there and 0.3 one row on (definition of
    offsets); what leaves the panel's last row is lost."""
    plain = camera()
    shared = model(replace(plain, response=Sharing()), scatter_terms=())
    alone = model(replace(plain, response=Sharing(offsets=((0, 0),))), scatter_terms=())
    alone.recording = alone.recording.recording(shared.recording.spectral[:1] / 0.7)
    activity = torch.ones(1, len(alone.groups.names), *GRID.shape)
    density = torch.zeros(1, *GRID.shape)
    first = alone.A(activity, density).reshape(2, 8, 8, -1)
    expected = 0.7 * first
    expected[:, 1:] += 0.3 * first[:, :-1]
    torch.testing.assert_close(
        shared.A(activity, density).reshape(2, 8, 8, -1), expected, rtol=1e-5, atol=1e-12
    )


def test_a_head_that_stops_twice_sees_half_the_time():
    """One head with two stops records half of what two heads record, which face each other so that neither
    plate ends at the other (definition)."""
    heads = model(camera(angles_deg=[0.0, 180.0]))
    head = model(camera(angles_deg=[0.0], rotation={"steps": 2, "arc_deg": 360.0}))
    activity = torch.ones(1, len(heads.groups.names), *GRID.shape)
    density = torch.zeros(1, *GRID.shape)
    torch.testing.assert_close(
        2 * head.A(activity, density), heads.A(activity, density), rtol=1e-5, atol=1e-12
    )


def test_expected_counts_and_events(scene):
    """Counts are rate times duration plus background; drawn events have that mean (5 sigma)."""
    two, activity, density = scene
    kept = two.attenuation(density)
    expected = two.expected_counts(activity, kept, 600.0)
    background = two.expected_counts(torch.zeros_like(activity), kept, 600.0)
    assert float(background.sum()) == pytest.approx(600 * 1e-6 * 580 * two.pixels, rel=1e-5)
    torch.testing.assert_close(expected - background, 600 * two.A(activity, density), rtol=1e-4, atol=1e-6)
    frames = (Frame(0, 400), Frame(1000, 200))
    events = two.sample_events(activity, density, frames, torch.Generator().manual_seed(1))[0]
    total = float(expected.sum())
    assert abs(len(events) - total) < 5 * total**0.5
    again = draw_counts(expected, torch.Generator().manual_seed(1))[0]
    assert torch.equal(events.histogram(two.pixels, two.energy_bins), again)


def test_ray_and_matrix_projectors_are_interchangeable(scene, tmp_path):
    """The model's counts change by less than 2 % of the peak with the projector. Activity or density in
    float64 before a matrix in float32 is told in a sentence."""
    two, activity, density = scene

    matrix = partial(MatrixProjector, cache_dir=tmp_path, sampling=FEW)
    one, other = two.A(activity, density), model(camera(), projector=matrix).A(activity, density)
    assert float((one - other).abs().max() / one.max()) < 0.02
    for given in ((activity.double(), density), (activity, density.double())):
        with pytest.raises(UserError, match="are float64, but the system matrix holds float32"):
            model(camera(), projector=matrix).A(*given)
