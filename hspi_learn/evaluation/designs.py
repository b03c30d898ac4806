"""The result of a design study: a table, flat numbers and a sentence.

Deviations are relative Cramer-Rao standard deviations (data_gen/design/information.py), lengths are mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from data_gen.design import Comparison, DesignProblem, GainCheck, MaterialDesign, Search
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


def numbers_of(
    problem: DesignProblem, designs: Sequence[MaterialDesign], found: Comparison
) -> dict[str, float]:
    """Numbers by name; an uptake that cannot be told apart from others has no deviation and is left out."""
    numbers = {"gain": found.gain}
    for each in designs:
        for name, search, seconds in (
            ("gradient", each.gradient, each.gradient_s),
            ("grid", each.grid, each.grid_s),
        ):
            key = f"{each.material}/{name}"
            numbers[f"{key}/objective"] = search.best.value
            numbers[f"{key}/diameter_mm"], numbers[f"{key}/plane_mm"] = search.best.parameters
            numbers[f"{key}/evaluations"] = float(len(search.trials))
            numbers[f"{key}/seconds"] = seconds
    for moment, deviations in (("before", found.before), ("after", found.after)):
        numbers[f"{moment}/objective"] = float(deviations[found.wanted].sum())
        values = zip(problem.task.parts, deviations.tolist(), strict=True)
        numbers |= {f"{moment}/{part}": value for part, value in values}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def statement(problem: DesignProblem, designs: Sequence[MaterialDesign], found: Comparison) -> str:
    """The result in words."""
    diameter, plane = found.best.gradient.best.parameters
    detector = problem.camera.spec.panels.detector_mm
    by_gradient, by_grid = (sum(len(s.trials) for s in kind) for kind in _searches(designs))
    return (
        f"{found.best.material}, diameter {diameter:.2f} mm at {plane:.1f} mm (magnification "
        f"{(detector - plane) / plane:.2f}): deviations sum to {float(found.after[found.wanted].sum()):.3g}, "
        f"{float(found.before[found.wanted].sum()):.3g} with the camera as it came (gain {found.gain:.2f}); "
        f"{by_gradient} evaluations by gradient, {by_grid} by grid."
    )


def check_numbers(check: GainCheck) -> dict[str, float]:
    """Flat names and numbers of a check by Monte Carlo."""
    return {
        "check/gain_model": check.by_model,
        "check/gain_monte_carlo": check.by_monte_carlo,
        "check/gain_monte_carlo_error": check.error,
    }


SETTLED = 0.25
"""Standard error of a gain, as a fraction of it, from which on a check settles nothing; chosen."""


def check_statement(problem: DesignProblem, check: GainCheck) -> str:
    """The check in words; one that settles nothing says so."""
    told = (
        f"{problem.task.wanted} against all else, in blocks of pixels: gain {check.by_model:.2f} by the "
        f"model, {check.by_monte_carlo:.2f} +- {check.error:.2f} by Monte Carlo, scatter included."
    )
    if check.error < SETTLED * check.by_monte_carlo:
        return told
    return f"{told} This Monte Carlo is too uncertain to settle anything; set check_photons higher."


def _searches(designs: Sequence[MaterialDesign]) -> tuple[list[Search], list[Search]]:
    """All searches by gradient, and all by grid."""
    return [each.gradient for each in designs], [each.grid for each in designs]


def _wanted(problem: DesignProblem) -> tuple[str, ...]:
    return problem.task.parts[problem.task.wanted_parts]
