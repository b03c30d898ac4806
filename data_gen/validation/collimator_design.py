"""Apertures optimised by gradient, compared with a grid search and with the Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from data_gen.camera import load_camera
from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.design import (
    PARAMETERS,
    Bounds,
    DesignProblem,
    best_of,
    compare,
    montecarlo_check,
    organ_task,
)
from data_gen.design import design as search
from data_gen.forward_model import ModelOptions
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.phantoms import MousePhantom
from data_gen.projector import RaySampling
from data_gen.validation.point import Findings, Point

_WINDOWS_KEV = (20.0, 60.0, 100.0, 180.0, 250.0, 320.0, 380.0, 480.0, 600.0)
"""Boundaries of the energy windows; chosen, no source."""
_UPTAKE_PERCENT_PER_G = {
    "soft_tissue": (0.5, 1.5),
    "heart": (5.0, 15.0),
    "liver": (4.0, 12.0),
    "kidneys": (3.0, 10.0),
    "gut": (1.0, 3.0),
    "tumour": (10.0, 40.0),
}
_FREED_PER_G = {"soft_tissue": (0.5, 1.0), "liver": (2.0, 5.0), "kidneys": (15.0, 40.0), "tumour": (0.5, 1.5)}
_INJECTED_BQ, _START_S, _DURATION_S = 1e5, 86_400.0, 3600.0
"""Injected activity, start and duration of the scan; chosen, no source."""

AS_GOOD = 1e-3
"""Relative tolerance of the gradient's optimum above the best point of the grid."""

CONFIRMED = 0.1
"""Relative tolerance between the gains of Monte Carlo and model, which has no scatter."""

SIGMAS = 3.0
"""Tolerance between them in standard errors ..."""

KNOWN = 0.1
"""... which must be at most this fraction of the gain, since large errors confirm anything."""


def design(
    camera: str = "demo_coarse",
    nuclide: str = "Ac-225",
    materials: Sequence[str] = ("tungsten",),
    diameter_mm: tuple[float, float] = (0.2, 2.4),
    plane_mm: tuple[float, float] = (21.0, 32.0),
    most_evaluations: int = 12,
    grid_points: int = 5,
    rays: int = 16,
    photons: int = 200_000,
    seed: int = 0,
) -> Findings:
    """A tumour's uptake of parent and daughter in a mouse: the sum of relative Cramer-Rao deviations.

    Args:
        camera: whose apertures are designed; plate thickness, detector and field of view stay.
        nuclide: injected.
        materials: materials of plate and septa.
        diameter_mm: bounds.
        plane_mm: bounds of the waists' distance from the isocentre, which is the magnification's.
        most_evaluations: largest number of evaluations of the objective with its gradient.
        grid_points: number of grid points of each parameter.
        rays: number of rays for each pair of pixel and aperture.
        photons: photons simulated by the Monte Carlo for each uptake and camera; 0 leaves it out.
        seed: random seed of mouse and Monte Carlo.
    """
    (thin, wide), (near, far) = diameter_mm, plane_mm
    bounds = Bounds(PARAMETERS, ((thin, wide), (near, far)))
    problem = _problem(camera, nuclide, bounds, rays, seed)
    designs = search(problem, materials, most_evaluations, grid_points)
    best, found = best_of(designs), compare(problem, designs)
    least = min(each.grid.best.value for each in designs)
    tries = sum(len(each.gradient.trials) for each in designs), sum(len(each.grid.trials) for each in designs)
    seconds = sum(each.gradient_s for each in designs), sum(each.grid_s for each in designs)
    diameter, plane = best.gradient.best.parameters
    note = f"{camera}, {nuclide}: {best.material}, {diameter:.2f} mm at {plane:.1f} mm"
    optimum = best.gradient.best.value
    grid = f"best of {tries[1]} points of a grid over the same bounds"
    spent = f"{note}; {seconds[0]:.0f} s with gradients, {seconds[1]:.0f} s for the grid"
    points = [
        Point("optimum_over_grid", optimum / least, 1 + AS_GOOD, grid, "by_grid", f"{note}; {optimum:.4g}"),
        Point("evaluations_over_grid", tries[0] / tries[1], 0.5, grid, "by_grid", spent),
        Point(
            "gain", found.gain, None, "the camera as it came", "this run", f"{note}; times fewer deviations"
        ),
    ]
    if photons:
        check = montecarlo_check(problem, found, photons, seed)
        told = f"model {check.by_model:.3g}, Monte Carlo {check.by_monte_carlo:.3g} +- {check.error:.2g}"
        apart = check.by_monte_carlo - check.by_model
        known = check.error / check.by_monte_carlo
        truth, source = "gain for the tumour against all else, scatter included", "data_gen.montecarlo"
        points.append(Point("gain_confirmed", abs(apart) / check.error, SIGMAS, truth, source, told))
        points.append(Point("gain_ratio", abs(apart / check.by_model), CONFIRMED, truth, source, told))
        points.append(Point("gain_error", known, KNOWN, "relative error of that gain", source, told))
    return Findings(points)


def _problem(camera: str, nuclide: str, bounds: Bounds, rays: int, seed: int) -> DesignProblem:
    """A mouse with one tumour of 5 to 6 mm before the camera."""
    chain, grid = decay_chain(nuclide), VoxelGrid((14, 14, 14), 2.0)
    groups = tied_groups(chain)
    mouse = MousePhantom(
        _UPTAKE_PERCENT_PER_G,
        _FREED_PER_G,
        freed_fraction=(0.1, 0.5),
        tumours=(1, 1),
        tumour_diameter_mm=(5.0, 6.0),
        bed_offset_mm=(0.0, 0.0),
    )
    phantom = mouse(grid, torch.Generator().manual_seed(seed))
    organs = ("kidneys", "liver")
    task = organ_task(phantom, chain, groups, "tumour", organs, _INJECTED_BQ, _START_S, _DURATION_S)
    options = ModelOptions(6, ("leakage",), ray_sampling=RaySampling(rays, plate_steps=4), projector="ray")
    windows = EnergyWindows(_WINDOWS_KEV)
    return DesignProblem(load_camera(camera), chain, grid, windows, groups, task, bounds, options)
