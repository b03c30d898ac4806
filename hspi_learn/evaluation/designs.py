"""What a design came to: table, flat numbers and a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from data_gen.design import DesignProblem, MaterialDesign, best_of
from hspi_learn.evaluation.tables import Cell, Table


def design_table(problem: DesignProblem, designs: Sequence[MaterialDesign]) -> Table:
    """A row for each material: the start, what the gradient found, and what the grid found."""
    columns = ["Material", "start"]
    for kind in ("gradient", "grid"):
        columns += [f"{kind}: diameter mm", "plane mm", "sum of deviations", "evaluations", "s"]
    rows: list[tuple[Cell, ...]] = []
    for found in designs:
        row: list[Cell] = [found.material, found.gradient.trials[0].value]
        for search, seconds in ((found.gradient, found.gradient_s), (found.grid, found.grid_s)):
            row += [*search.best.parameters, search.best.value, float(len(search.trials)), seconds]
        rows.append(tuple(row))
    diameter, plane = problem.start
    caption = (
        f"Sum of the relative Cramer-Rao deviations of {', '.join(_wanted(problem))}; start: {diameter:g} mm "
        f"at {plane:g} mm. An evaluation of the gradient search takes a gradient with it."
    )
    return Table("materials", caption, tuple(columns), tuple(rows))


def numbers_of(problem: DesignProblem, designs: Sequence[MaterialDesign]) -> dict[str, float]:
    """Flat names and numbers; ``before`` is the camera as it came, ``after`` the best material's optimum."""
    best, numbers = best_of(designs), {}
    for found in designs:
        for name, search, seconds in (
            ("gradient", found.gradient, found.gradient_s),
            ("grid", found.grid, found.grid_s),
        ):
            key = f"{found.material}/{name}"
            numbers[f"{key}/objective"] = search.best.value
            numbers[f"{key}/diameter_mm"], numbers[f"{key}/plane_mm"] = search.best.parameters
            numbers[f"{key}/evaluations"] = float(len(search.trials))
            numbers[f"{key}/seconds"] = seconds
    own = _own(problem, designs)
    numbers["before/objective"] = own.gradient.trials[0].value
    numbers["after/objective"] = best.gradient.best.value
    numbers["gain"] = numbers["before/objective"] / numbers["after/objective"]
    for part, before, after in zip(problem.task.parts, own.before.tolist(), best.after.tolist(), strict=True):
        numbers[f"before/{part}"], numbers[f"after/{part}"] = before, after
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def statement(problem: DesignProblem, designs: Sequence[MaterialDesign]) -> str:
    """The result in words."""
    best, own = best_of(designs), _own(problem, designs)
    diameter, plane = best.gradient.best.parameters
    detector = problem.camera.spec.panels.detector_mm
    tried = sum(len(found.gradient.trials) for found in designs), sum(len(f.grid.trials) for f in designs)
    return (
        f"{best.material}, diameter {diameter:.2f} mm at {plane:.1f} mm (magnification "
        f"{(detector - plane) / plane:.2f}): deviations sum to {best.gradient.best.value:.3g}, "
        f"{own.gradient.trials[0].value:.3g} with the camera as it came; {tried[0]} evaluations by gradient, "
        f"{tried[1]} by grid."
    )


def _own(problem: DesignProblem, designs: Sequence[MaterialDesign]) -> MaterialDesign:
    """The design of the camera's own material, or the first if that was not tried."""
    own = problem.camera.collimator_material
    return next((found for found in designs if found.material == own), designs[0])


def _wanted(problem: DesignProblem) -> tuple[str, ...]:
    return problem.task.parts[problem.task.wanted_parts]
