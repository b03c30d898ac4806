"""Plots that compare methods: error against counts, mouse by mouse, bias against noise, recovery of uptake,
tumours by their size.

NRMSE, relative bias and slope are computed in ``hspi_learn/metrics``; here they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from hspi_learn.visual.style import method_colour, method_label, paper_figure

Array = NDArray[np.floating[Any]]

_GREY = "#9E9E9E"


class ErrorCurve(NamedTuple):
    """Error of one method over count levels."""

    counts: Array
    """Counts of a scan in all energy windows, median over mice, at each count level [level]."""
    scans: Array
    """NRMSE [level, mouse]."""
    attack: str = ""
    """Name of the attack that they are under; empty for clean scans."""


def error_figure(curves: Mapping[str, Sequence[ErrorCurve]], energy_range_kev: tuple[float, float]) -> Figure:
    """NRMSE against counts: median over mice, and a band between the lower and the upper quartile.

    Other signs are the same methods under attack.

    Args:
        curves: method to its errors, clean and under each attack.
        energy_range_kev: lowest and highest boundary of the energy windows in which the counts are summed.
    """
    low_kev, high_kev = energy_range_kev
    drawn = [curve for versions in curves.values() for curve in versions]
    attacks = list(dict.fromkeys(curve.attack for curve in drawn if curve.attack))
    with paper_figure(5.2, 3.4) as figure:
        axis = figure.subplots()
        for method, versions in curves.items():
            for curve in versions:
                colour, style = method_colour(method), ("--" if curve.attack else "-")
                order = np.argsort(curve.counts)
                low, middle, high = np.nanquantile(curve.scans[order], [0.25, 0.5, 0.75], axis=1)
                label = None if curve.attack else method_label(method)
                marker = _marker(attacks, curve.attack)
                axis.plot(
                    curve.counts[order], middle, style, marker=marker, markersize=6, color=colour, label=label
                )
                if not curve.attack:
                    axis.fill_between(curve.counts[order], low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_xscale("log")
        levels = np.unique([level for curve in drawn for level in curve.counts])
        axis.set_xticks(levels, [f"{float(f'{level:.3g}'):,.0f}" for level in levels])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_ylim(bottom=0)
        axis.set_xlabel(f"Counts, {low_kev:g}-{high_kev:g} keV (median over mice)")
        axis.set_ylabel("NRMSE (median, quartiles)")
        for attack in attacks:
            axis.plot([], [], _marker(attacks, attack), color="black", label=attack, linestyle="none")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _marker(attacks: Sequence[str], attack: str) -> str:
    """A circle for clean scans, and a sign of its own for each attack."""
    return "XP^sv*"[attacks.index(attack) % 6] if attack else "o"


def mice_figure(errors: Mapping[str, Array], title: str = "") -> Figure:
    """NRMSE of every mouse by every method; thin lines join a mouse, bars are medians.

    Args:
        errors: method to NRMSE [mouse], mice in one order.
        title: above the figure.
    """
    values = np.stack(list(errors.values()), axis=1)
    place = np.arange(len(errors))
    with paper_figure(1.2 + 0.95 * len(errors), 3.4) as figure:
        axis = figure.subplots()
        axis.plot(place, values.T, color="#BDBDBD", linewidth=0.5, zorder=1)
        for column, method in enumerate(errors):
            axis.scatter(
                np.full(len(values), column), values[:, column], s=14, color=method_colour(method), zorder=2
            )
            axis.hlines(
                np.nanmedian(values[:, column]),
                column - 0.3,
                column + 0.3,
                color="black",
                linewidth=2,
                zorder=3,
            )
        axis.set_xticks(place, [method_label(m) for m in errors], rotation=20)
        axis.set_xlim(-0.5, len(errors) - 0.5)
        axis.set_ylim(bottom=0)
        axis.set_ylabel("NRMSE of a mouse (bar: median)")
        axis.grid(axis="x", visible=False)
        if title:
            axis.set_title(title)
    return figure


class Tradeoff(NamedTuple):
    """Bias and noise of regional means by a method, or by each of its settings."""

    bias: Array
    """Root mean square over regions of the relative bias [setting]."""
    sd: Array
    """Root mean square over regions of the relative SD over noise realisations [setting]."""
    names: Sequence[str] = ()
    """Written at the settings, for instance iterations."""
    evaluated: Sequence[bool] = ()
    """Settings that the comparison uses, drawn large; empty for all."""


def bias_variance_figure(tradeoffs: Mapping[str, Tradeoff]) -> Figure:
    """Regional bias against SD over noise realisations; a classical method is a curve over its iterations."""
    with paper_figure(5.2, 3.4) as figure:
        axis = figure.subplots()
        for method, tradeoff in tradeoffs.items():
            colour, sd, bias = method_colour(method), 100 * tradeoff.sd, 100 * tradeoff.bias
            axis.plot(sd, bias, "o-", markersize=4, color=colour)
            large = np.array(tradeoff.evaluated or [True] * len(bias))
            axis.scatter(sd[large], bias[large], s=64, color=colour, label=method_label(method), zorder=3)
            for name, x, y in zip(tradeoff.names, sd, bias, strict=False):
                axis.annotate(name, (x, y), (5, 5), textcoords="offset points")
        axis.set_xlabel("SD over noise, RMS over organs and tumours (%)")
        axis.set_ylabel("Bias, RMS over organs and tumours (%)")
        axis.margins(0.12)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


def recovery_figure(
    truth: Array,
    estimates: Mapping[str, Array],
    slopes: Mapping[str, float],
    unit: str,
    tumour: NDArray[np.bool_],
    unidentifiable: NDArray[np.bool_] | None = None,
) -> Figure:
    """Regional means: estimate against truth, a panel for each method, with the slope.

    Axes are logarithmic, as uptakes span decades; estimates beyond them are drawn on the edge.

    Args:
        truth: true means [region], over all mice, at least one above 0.
        estimates: method to means of the same regions.
        slopes: method to the slope of estimate against truth (``hspi_learn/metrics/regions.py``).
        unit: unit of the means, for the axis labels.
        tumour: which regions are tumours [region]; they are drawn as open diamonds.
        unidentifiable: which of them a scan cannot tell [region]; they are drawn in grey.
    """
    unknown = np.zeros_like(tumour) if unidentifiable is None else unidentifiable
    low, high = 0.7 * float(truth[truth > 0].min()), 1.5 * float(truth[truth > 0].max())
    with paper_figure(0.6 + 2.2 * len(estimates), 2.8) as figure:
        axes = figure.subplots(1, len(estimates), sharex=True, sharey=True, squeeze=False)[0]
        for axis, (method, values) in zip(axes, estimates.items(), strict=True):
            axis.plot([low, high], [low, high], color="#707070", linewidth=0.8, linestyle=":")
            _regions(axis, truth, np.clip(values, low, high), tumour, unknown, method_colour(method))
            axis.set_title(f"{method_label(method)}: slope {slopes[method]:.2f}")
            axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes[0].set_ylabel(f"Estimated mean ({unit})")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        figure.supxlabel(f"True mean of the region ({unit})")
    return figure


def _regions(
    axis: Axes,
    truth: Array,
    found: Array,
    tumour: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    colour: str,
) -> None:
    """Points of organs and tumours, those that a scan cannot tell in grey."""
    for chosen, shade, said in ((~unknown, colour, ""), (unknown, _GREY, ", not identifiable")):
        if not chosen.any():
            continue
        organs, lesions = chosen & ~tumour, chosen & tumour
        axis.scatter(
            truth[organs], found[organs], s=7, color=shade, alpha=0.45, linewidths=0, label=f"organ{said}"
        )
        axis.scatter(
            truth[lesions],
            found[lesions],
            s=20,
            marker="D",
            facecolors="none",
            edgecolors=shade,
            label=f"tumour{said}",
        )


def tumour_figure(
    volume_mm3: Array,
    errors: Mapping[str, Mapping[str, Array]],
    unidentifiable: Mapping[str, NDArray[np.bool_]],
) -> Figure:
    """Relative error of the mean activity of each tumour over its volume, a panel for each map.

    Args:
        volume_mm3: volume of the tumours [tumour].
        errors: map to method to (estimate - truth) / truth [tumour]; beyond -100 and 150 % they are drawn
            there.
        unidentifiable: map to the tumours that a scan cannot tell [tumour]; they are drawn open.
    """
    with paper_figure(0.8 + 3.2 * len(errors), 3.2) as figure:
        axes = figure.subplots(1, len(errors), sharex=True, sharey=True, squeeze=False)[0]
        for axis, (group, methods) in zip(axes, errors.items(), strict=True):
            axis.axhline(0.0, color="#707070", linewidth=0.8, linestyle=":")
            lost = unidentifiable[group]
            for method, values in methods.items():
                shown, colour = np.clip(100 * values, -100, 150), method_colour(method)
                axis.scatter(volume_mm3[~lost], shown[~lost], s=14, color=colour, label=method_label(method))
                axis.scatter(volume_mm3[lost], shown[lost], s=14, facecolors="none", edgecolors=colour)
            axis.set_title(group)
            axis.set_xlabel("Volume of the tumour (mm³)")
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axis.set_xlim(left=0)
        axes[0].set_ylabel("Error of the mean activity (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        if any(lost.any() for lost in unidentifiable.values()):
            style: Any = {"marker": "o", "markersize": 4, "markerfacecolor": "none", "linestyle": "none"}
            handles.append(Line2D([], [], color=_GREY, **style))
            labels.append("not identifiable")
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
