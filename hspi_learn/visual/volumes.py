"""Plots of activity volumes side by side: maximum projections, slices, errors, line profiles; axes in mm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hspi_learn.visual.style import method_colour, method_label, paper_figure

Volume = NDArray[np.floating[Any]]
_MAP = "inferno"
_ERROR_MAP = "RdBu_r"


def reconstruction_figure(
    volumes: Mapping[str, Volume],
    spacing_mm: Sequence[float],
    unit: str,
    body: NDArray[np.bool_] | None = None,
    title: str = "",
) -> Figure:
    """Volumes in columns; rows are the coronal and sagittal maximum projections, a transaxial slice, and the
    error of the slice.

    Args:
        volumes: name to [z, y, x], all of one shape; the first is the truth: it sets the colour scale of all,
            and the slice, which runs through its hottest voxel. The scale of errors is symmetric about 0.
        spacing_mm: voxel edges (z, y, x) in mm.
        unit: unit of the values, written at the colour bar.
        body: outline drawn over every panel [z, y, x].
        title: above the figure.
    """
    arrays = {name: np.asarray(volume, dtype=np.float64) for name, volume in volumes.items()}
    first = next(iter(arrays.values()))
    top = float(first.max()) or 1.0
    z = int(first.max(axis=(1, 2)).argmax())
    sz, sy, sx = spacing_mm
    views: tuple[tuple[str, Callable[[Any], Any], tuple[float, float], str, str], ...] = (
        ("Coronal MIP", lambda v: v.max(axis=1), (sz, sx), "z", "x"),
        ("Sagittal MIP", lambda v: v.max(axis=2), (sz, sy), "z", "y"),
        (f"Slice z = {(z - (first.shape[0] - 1) / 2) * sz:+.1f} mm", lambda v: v[z], (sy, sx), "y", "x"),
    )
    rows = 3 if len(arrays) == 1 else 4
    with paper_figure(1.2 + 1.5 * len(arrays), 0.5 + 1.5 * rows) as figure:
        axes = figure.subplots(rows, len(arrays), squeeze=False)
        for row, (view, cut, steps, up, across) in enumerate(views):
            for column, (name, volume) in enumerate(arrays.items()):
                axis = axes[row, column]
                image = _show(axis, cut(volume), steps, top, None if body is None else cut(body))
                if row == 0:
                    axis.set_title(method_label(name))
                if column == 0:
                    axis.set_ylabel(f"{view}\n{up} (mm)")
                    axis.set_xlabel(f"{across} (mm)")
                axis.tick_params(labelleft=column == 0, labelbottom=column == 0)
        label = f"Activity concentration ({unit})"
        above = axes[:3].ravel().tolist()
        figure.colorbar(image, ax=above, label=label, fraction=0.03, pad=0.02, extend="max")
        if rows == 4:
            _errors(figure, axes[3], [volume[z] - first[z] for volume in arrays.values()], (sy, sx), unit)
        if title:
            figure.suptitle(title)
    return figure


def _errors(
    figure: Figure, axes: Any, errors: Sequence[Volume], steps_mm: tuple[float, float], unit: str
) -> None:
    """The last row: the error of the slice below each estimate, and none below the truth."""
    finite = np.concatenate([error[np.isfinite(error)] for error in errors])
    top = float(np.abs(finite).max()) or 1.0
    axes[0].set_axis_off()
    axes[0].text(1.0, 0.5, "Error of the slice", transform=axes[0].transAxes, ha="right", va="center")
    for axis, error in zip(axes[1:], errors[1:], strict=True):
        image = axis.imshow(
            error, cmap=_ERROR_MAP, vmin=-top, vmax=top, origin="lower", extent=_extent(error, steps_mm)
        )
        axis.grid(False)
        axis.tick_params(labelleft=False, labelbottom=False)
    label = f"Estimate - truth\n({unit})"
    figure.colorbar(image, ax=axes.tolist(), label=label, fraction=0.03, pad=0.02)


def _extent(image: Volume, steps_mm: tuple[float, float]) -> tuple[float, float, float, float]:
    """Edges of an image in mm, origin at the isocentre."""
    height, width = (n * step for n, step in zip(image.shape, steps_mm, strict=True))
    return (-width / 2, width / 2, -height / 2, height / 2)


def _show(
    axis: Axes, image: Volume, steps_mm: tuple[float, float], top: float, outline: Volume | None
) -> Any:
    """One panel with axes in mm, origin at the isocentre."""
    extent = _extent(image, steps_mm)
    shown = axis.imshow(
        image, cmap=_MAP, vmin=0, vmax=top, origin="lower", extent=extent, interpolation="nearest"
    )
    if outline is not None and outline.any() and not outline.all():
        # With an origin the extent is that of the voxels' edges, as in imshow, and not of their centres.
        drawn: dict[str, Any] = {
            "colors": "white",
            "linewidths": 0.6,
            "alpha": 0.7,
            "origin": "lower",
            "extent": extent,
        }
        axis.contour(outline.astype(float), levels=[0.5], **drawn)
    axis.grid(False)
    return shown


def profile_figure(
    volumes: Mapping[str, Volume], spacing_mm: Sequence[float], unit: str, through: tuple[int, int, int]
) -> Figure:
    """Line profiles along x, y and z through one voxel, all methods in each panel.

    Args:
        volumes: name to [z, y, x].
        spacing_mm: voxel edges (z, y, x) in mm.
        unit: unit of the values.
        through: voxel (z, y, x) that the lines cross.
    """
    z, y, x = through
    lines: tuple[tuple[str, int, Any], ...] = (
        ("x", 2, (z, y, slice(None))),
        ("y", 1, (z, slice(None), x)),
        ("z", 0, (slice(None), y, x)),
    )
    with paper_figure(7.2, 2.6) as figure:
        axes = figure.subplots(1, 3, sharey=True)
        for axis, (name, dimension, cut) in zip(axes, lines, strict=True):
            for method, volume in volumes.items():
                _profile(axis, method, np.asarray(volume)[cut], spacing_mm[dimension])
            axis.set_xlabel(f"{name} (mm)")
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel(f"Activity concentration ({unit})")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _profile(axis: Axes, method: str, values: Volume, step_mm: float) -> None:
    """One line of one method; the truth stands behind as a filled step."""
    position = (np.arange(len(values)) - (len(values) - 1) / 2) * step_mm
    colour = method_colour(method)
    if method == "truth":
        axis.fill_between(
            position, values, step="mid", color="#D9D9D9", linewidth=0, label=method_label(method)
        )
        axis.step(position, values, where="mid", color=colour, linewidth=0.8)
    else:
        axis.plot(position, values, color=colour, label=method_label(method))
