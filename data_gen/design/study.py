"""Design study: apertures and material optimised for a task by gradient, and by grid as a check of the
gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyAxis, VoxelGrid
from data_gen.design.objective import DesignObjective
from data_gen.design.redesign import redesigned
from data_gen.design.search import Bounds, Search, by_gradient, by_grid
from data_gen.design.task import RegionalTask
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import DecayChain, MemberGroups

PARAMETERS = ("diameter_mm", "plane_mm")

FINER = 4
"""Factor on the number of rays in the final comparison, since quadrature noise counts as information."""


@dataclass(frozen=True, eq=False)
class DesignProblem:
    """What is designed, for which task, and how finely it is computed.

    Args:
        camera: whose detector, plate thickness and shape of aperture stay; its apertures are the start.
        chain: decay chain of the injected nuclide.
        grid: voxels; they are the field of view.
        windows: recorded energies.
        groups: which chain members share an activity map.
        task: what to estimate, on that grid and of those groups.
        bounds: bounds of :data:`PARAMETERS`.
        options: options of the model; traced rays, as only they have gradients in apertures, and no more than
            leakage beside the apertures.

    Raises:
        UserError: the options name another projector or other scatter terms.
    """

    camera: Camera
    chain: DecayChain
    grid: VoxelGrid
    windows: EnergyAxis
    groups: MemberGroups
    task: RegionalTask
    bounds: Bounds
    options: ModelOptions

    def __post_init__(self) -> None:
        if self.options.projector != "ray":
            raise UserError(
                f"projector is {self.options.projector!r}; a design needs 'ray', whose apertures can move"
            )
        if not set(self.options.scatter_terms) <= {"leakage"}:
            raise UserError(
                f"scatter_terms is {list(self.options.scatter_terms)}; a design needs ['leakage'] or none, "
                "since it leaves scatter out"
            )

    @property
    def start(self) -> tuple[float, float]:
        """Diameter and plane of the camera's own apertures, mm."""
        plate = self.camera.spec.collimator
        return plate.diameter_mm, plate.plane_mm

    def objective(self, material: str) -> DesignObjective:
        """The objective for plates of a material.

        Raises:
            UserError: the material is unknown.
        """
        diameter, plane = torch.tensor(self.start, dtype=torch.float64)
        camera = redesigned(self.camera, diameter, plane, material)
        model = HyperspectralForwardModel(
            camera, self.chain, self.grid, self.windows, self.groups, self.options
        )
        return DesignObjective(model, self.task, self.options.ray_sampling)


@dataclass(frozen=True, eq=False)
class MaterialDesign:
    """Result of both searches for one material."""

    material: str
    gradient: Search
    """Its first trial is the camera's own apertures."""
    grid: Search
    gradient_s: float
    grid_s: float


def design(
    problem: DesignProblem,
    materials: Sequence[str],
    most_evaluations: int,
    grid_points: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[MaterialDesign]:
    """Optimise the apertures for each material, starting from the camera's own.

    Args:
        problem: the design problem.
        materials: materials of plate and septa.
        most_evaluations: largest number of evaluations of the objective and its gradient, for each material.
        grid_points: values of each parameter that the grid search tries.
        progress: called with a line when a part begins.

    Raises:
        UserError: a bound leaves no space for the plate, or a material is unknown.
    """
    for plane in problem.bounds.ranges[1]:
        for diameter in problem.bounds.ranges[0]:
            redesigned(problem.camera, *torch.tensor([diameter, plane], dtype=torch.float64))
    objectives = {material: problem.objective(material) for material in materials}
    found = []
    for material, objective in objectives.items():
        progress(f"{material}: by grid")
        began = time.perf_counter()
        grid = by_grid(objective, problem.bounds, grid_points)
        turned = time.perf_counter()
        progress(f"{material}: by gradient")
        gradient = by_gradient(objective, problem.bounds, problem.start, most_evaluations)
        ended = time.perf_counter()
        found.append(MaterialDesign(material, gradient, grid, ended - turned, turned - began))
    return found


def best_of(designs: Sequence[MaterialDesign]) -> MaterialDesign:
    """The material with the lowest optimum of the gradient search."""
    return min(designs, key=lambda found: found.gradient.best.value)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The original camera and the best design, both computed with more rays than the search used."""

    best: MaterialDesign
    before: Tensor
    """Relative Cramer-Rao deviation of each part of the task, [part]."""
    after: Tensor
    wanted: slice
    """The parts that were designed for."""

    @property
    def gain(self) -> float:
        """Sum of the wanted deviations before over that after."""
        return float(self.before[self.wanted].sum() / self.after[self.wanted].sum())


def compare(problem: DesignProblem, designs: Sequence[MaterialDesign]) -> Comparison:
    """Compare the camera as it came with the best design, with :data:`FINER` times the rays."""
    sampling = problem.options.ray_sampling
    options = replace(problem.options, ray_sampling=replace(sampling, rays=FINER * sampling.count))
    finer, best = replace(problem, options=options), best_of(designs)
    own = finer.objective(problem.camera.collimator_material)
    with torch.no_grad():
        before = own.deviations(torch.tensor(problem.start, dtype=torch.float64))
        found = torch.tensor(best.gradient.best.parameters, dtype=torch.float64)
        after = finer.objective(best.material).deviations(found)
    return Comparison(best, before, after, problem.task.wanted_parts)
