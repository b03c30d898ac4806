"""The objective on a camera of two panels: its gradient, its scale, and where it leads."""

from dataclasses import replace

import pytest
import torch

from data_gen.camera import Camera
from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.design import (
    PARAMETERS,
    Bounds,
    DesignObjective,
    DesignProblem,
    best_of,
    compare,
    design,
    regional_task,
)
from data_gen.forward_model import ModelOptions
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.projector import RaySampling

CAMERA = Camera.from_dict(
    {
        "name": "two",
        "panels": {"angles_deg": [0, 90], "detector_mm": 38.0},
        "collimator": {
            "material": "tungsten",
            "plane_mm": 28.0,
            "plate_mm": 8.0,
            "shape": "knife_edge",
            "diameter_mm": 1.5,
            "opening_deg": 60.0,
            "apertures": [1, 1],
            "septa": True,
        },
        "detector": {
            "material": "CdTe",
            "thickness_mm": 2.0,
            "rows": 8,
            "columns": 8,
            "pitch_mm": 2.0,
            "background_cps_per_kev": 1e-8,
            "response": {"kind": "cdte"},
        },
    }
)
GRID = VoxelGrid((6, 6, 6), 4.0)
OPTIONS = ModelOptions(2, ("leakage",), ray_sampling=RaySampling(16, 4), projector="ray")
START = torch.tensor([1.5, 28.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def problem() -> DesignProblem:
    chain = decay_chain("Ac-225")
    groups = tied_groups(chain)
    activity = torch.full((len(groups.members), *GRID.shape), 20.0, dtype=torch.float64)
    middle = torch.zeros(GRID.shape, dtype=torch.bool)
    middle[2:4, 2:4, 2:4] = True
    density = torch.ones(GRID.shape, dtype=torch.float64)
    task = regional_task(activity, tuple(groups.members), {"middle": middle}, density, 600.0, "middle")
    bounds = Bounds(PARAMETERS, ((0.8, 4.0), (20.0, 31.0)))
    windows = EnergyWindows((20.0, 100.0, 180.0, 250.0, 380.0, 480.0))
    return DesignProblem(CAMERA, chain, GRID, windows, groups, task, bounds, OPTIONS)


@pytest.fixture(scope="module")
def objective(problem: DesignProblem) -> DesignObjective:
    return problem.objective("tungsten")


def test_gradient_against_finite_differences(objective, monkeypatch):
    """d objective / d log diameter and d log plane, central differences of 0.5 %, within 4 %.

    As many rays for any design: where their whole number changes, the objective jumps by 0.2 %.
    """
    monkeypatch.setattr(RaySampling, "split", lambda sampling, *_: (sampling.rays, 2 * sampling.rays))
    finer = replace(objective, sampling=RaySampling(96, 4))
    log = torch.tensor([1.515, 28.0], dtype=torch.float64).log().requires_grad_(True)
    (slope,) = torch.autograd.grad(finer(log.exp()), log)
    with torch.no_grad():
        for k in range(2):
            step = 0.005 * torch.eye(2, dtype=torch.float64)[k]
            difference = finer((log + step).exp()) - finer((log - step).exp())
            assert float(slope[k]) == pytest.approx(float(difference) / 0.01, rel=0.04)


def test_deviations_fall_with_the_root_of_time(objective):
    """Four times the scan halves every deviation, 1e-6: counts and background both grow with time."""
    longer = replace(objective, task=replace(objective.task, duration_s=2400.0))
    with torch.no_grad():
        once, twice = (each.deviations(START) for each in (objective, longer))
    assert (once / twice).tolist() == pytest.approx([2.0] * len(once), rel=1e-6)


def test_parts_are_what_the_camera_counts(objective):
    """Parts sum to the forward model's counts of all activity together, within 6 % in each window: the model
    traces four times the rays through the plate."""
    task = objective.task
    with torch.no_grad():
        counts = objective.counts(START)
        parts = (counts.one + counts.two) / 2 + counts.leaked
        activity = torch.einsum("rzyx,rm->mzyx", task.shape, task.activity_bq)
        whole = 600.0 * objective.model.A(activity[None], task.density[None])[0]
    assert parts.sum((0, 1)).tolist() == pytest.approx(whole.sum(0).tolist(), rel=0.06)


@pytest.mark.slow
def test_gradient_is_no_worse_than_the_grid(problem):
    """The same bounds, 4 x 4: no worse (0.1 %), better than the start, and a fraction of the evaluations; the
    comparison with finer rays (15 %) finds a gain too."""
    designs = design(problem, ["tungsten"], most_evaluations=8, grid_points=4)
    found = best_of(designs)
    assert found.gradient.best.value <= 1.001 * found.grid.best.value
    assert found.gradient.best.value < found.gradient.trials[0].value
    assert len(found.gradient.trials) <= 8 < len(found.grid.trials) == 16
    compared = compare(problem, designs)
    assert compared.gain > 1.1
    assert float(compared.after[compared.wanted].sum()) == pytest.approx(found.gradient.best.value, rel=0.15)
