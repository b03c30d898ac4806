"""Plots of a design study: the objective over diameter and plane (mm), and the deviation of every uptake.

Deviations are relative Cramer-Rao standard deviations (data_gen/design/information.py).
"""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_gen.design import Comparison, DesignProblem, MaterialDesign
from hspi_learn.visual.style import paper_figure

_BEFORE, _AFTER = "#8C8C8C", "#D55E00"


def design_figure(problem: DesignProblem, found: Comparison) -> Figure:
    """Left: the grid search's map of the objective and the path of the gradient search over it; right:
    deviations of all uptakes with the camera's own apertures and with those found.
    """
    with paper_figure(7.2, 3.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
        _landscape(left, found.best)
        _deviations(right, problem, found)
    return figure


def _landscape(axis: Axes, found: MaterialDesign) -> None:
    """Objective over diameter and plane."""
    side = math.isqrt(len(found.grid.trials))
    diameter, plane = zip(*(trial.parameters for trial in found.grid.trials), strict=True)
    values = [[t.value for t in found.grid.trials[k * side : (k + 1) * side]] for k in range(side)]
    filled = axis.contourf(plane[:side], diameter[::side], values, levels=14, cmap="cividis")
    axis.figure.colorbar(filled, ax=axis, label="sum of relative deviations")
    ways = [trial.parameters for trial in found.gradient.trials]
    axis.plot([p for _, p in ways], [d for d, _ in ways], "o-", color="white", markersize=3, linewidth=1)
    axis.plot(*ways[0][::-1], "s", color=_BEFORE, markeredgecolor="white", label="before")
    axis.plot(*found.gradient.best.parameters[::-1], "*", color=_AFTER, markersize=11, label="after")
    axis.set(xlabel="aperture plane [mm]", ylabel="diameter [mm]", yscale="log", title=found.material)
    axis.grid(visible=False)
    axis.legend(labelcolor="white")


def _deviations(axis: Axes, problem: DesignProblem, found: Comparison) -> None:
    """Bars of every uptake, in the order of the task."""
    places = range(len(problem.task.parts))
    for shift, values, colour, label in (
        (-0.2, found.before, _BEFORE, "before"),
        (0.2, found.after, _AFTER, "after"),
    ):
        heights = [min(v, 1e6) for v in values.tolist()]
        axis.barh([p + shift for p in places], heights, height=0.38, color=colour, label=label)
    axis.set_yticks(list(places), [part.replace("_", " ") for part in problem.task.parts])
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="least relative standard deviation")
    axis.legend()
