"""Plots of volumes side by side: projections, slices, errors, contours, line profiles; axes in mm."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hspi_learn.visual.style import method_colour, method_label, paper_figure

Volume = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
_MAP = "inferno"
_ERROR_MAP = "RdBu_r"
_ORGAN_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#7F3C8D", "#A6761D")
_PIECES = 8  # of a voxel's edge, in drawing contours


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


def contour_figure(
    image: Volume,
    contours: Mapping[str, Mapping[str, Mask]],
    spacing_mm: Sequence[float],
    unit: str,
    title: str = "",
) -> Figure:
    """Contours of organs over three slices of an image; a column for each set of contours.

    Slices run through the middle of the largest slice of the first organ that the first set has, or through
    the hottest voxel where it has none of them. Contours run along the edges of voxels.

    Args:
        image: [z, y, x], 0 or more.
        contours: name of a set ("truth") to name of an organ to mask [z, y, x], the same organs in each.
        spacing_mm: voxel edges (z, y, x) in mm.
        unit: unit of the image, written at the colour bar.
        title: above the figure.
    """
    values = np.asarray(image, dtype=np.float64)
    middle = _middle(values, next(iter(contours.values())))
    names = ("z", "y", "x")
    with paper_figure(1.2 + 2.2 * len(contours), 6.6) as figure:
        axes = figure.subplots(3, len(contours), squeeze=False)
        for row, (view, cut) in enumerate((("Coronal", 1), ("Sagittal", 2), ("Transaxial", 0))):
            up, across = (axis for axis in range(3) if axis != cut)
            steps = spacing_mm[up], spacing_mm[across]
            offset = (middle[cut] - (values.shape[cut] - 1) / 2) * spacing_mm[cut]
            for column, (name, organs) in enumerate(contours.items()):
                axis = axes[row, column]
                shown = _contoured(axis, values, organs, cut, middle[cut], steps)
                axis.tick_params(labelleft=column == 0)
                if row == 0:
                    axis.set_title(method_label(name))
                if column == 0:
                    axis.set_ylabel(f"{view}, {names[cut]} = {offset:+.1f} mm\n{names[up]} (mm)")
                axis.set_xlabel(f"{names[across]} (mm)")
        label = f"Activity concentration ({unit})"
        figure.colorbar(shown, ax=axes.ravel().tolist(), label=label, fraction=0.03, pad=0.02)
        lines = [Line2D([], [], color=colour, label=organ) for organ, colour in _organ_colours(organs)]
        figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 5))
        if title:
            figure.suptitle(title)
    return figure


def _middle(image: Volume, organs: Mapping[str, Mask]) -> tuple[int, ...]:
    """The voxel (z, y, x) that slices run through."""
    there = [mask for mask in organs.values() if mask.any()]
    if not there:
        return tuple(int(n) for n in np.unravel_index(int(image.argmax()), image.shape))
    z = int(there[0].sum(axis=(1, 2)).argmax())
    inside = np.argwhere(there[0][z])
    y, x = inside[len(inside) // 2]
    return z, int(y), int(x)


def _organ_colours(organs: Iterable[str]) -> list[tuple[str, str]]:
    """Each organ with its colour, the same in every column."""
    return list(zip(organs, itertools.cycle(_ORGAN_COLOURS)))


def _contoured(
    axis: Axes, image: Volume, organs: Mapping[str, Mask], cut: int, at: int, steps_mm: tuple[float, float]
) -> Any:
    """One slice with the contours of its organs."""
    plane: Volume = np.take(image, at, axis=cut)
    extent = _extent(plane, steps_mm)
    shown = axis.imshow(
        plane, cmap="Greys", vmin=0, vmax=float(image.max()) or 1.0, origin="lower", extent=extent
    )
    axis.grid(False)
    for (_, colour), mask in zip(_organ_colours(organs), organs.values(), strict=True):
        # Voxels in pieces, so that lines follow their edges, and a rim, so that lines close at the border.
        fine = np.pad(np.kron(mask.take(at, axis=cut), np.ones((_PIECES, _PIECES))), 1)
        if fine.any():
            rim = [step / _PIECES for step in reversed(steps_mm) for _ in range(2)]
            wider = tuple(
                edge + sign * by for edge, sign, by in zip(extent, (-1, 1, -1, 1), rim, strict=True)
            )
            drawn: dict[str, Any] = {"colors": colour, "linewidths": 1.0, "origin": "lower", "extent": wider}
            axis.contour(fine, levels=[0.5], **drawn)
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
