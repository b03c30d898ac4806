"""Sources finer than a pixel's view, through a knife edge: what few rays make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.validation.point import Findings, Plot, Point
from data_gen.validation.scenes import Pinhole, centroid_mm

_TOTAL, _COLUMNS, _CENTROID = 0.02, 0.01, 0.02
"""Tolerances: of the total, of columns that mirror each other (of the highest column), of the centroid
(pixels)."""

_SOURCE = "the same integrals by many rays"

SOURCES = ("line", "line_beside", "voxel_1mm", "voxel_1mm_beside", "voxel_0_5mm", "voxel_0_5mm_beside")
"""Sources at the isocentre, and beside it where no symmetry helps."""


@dataclass(frozen=True)
class _Source:
    """1 Bq spread over a few voxels."""

    name: str
    what: str
    grid: VoxelGrid
    activity: Tensor
    """[z, y, x] in Bq per voxel."""
    is_central: bool
    """Whether its image is its own mirror image, left and right."""
    is_held: bool = True
    """Whether figures of it have a tolerance."""


def fine_sources(
    energies_kev: Sequence[float] = (82.0, 218.0),
    projectors: Sequence[str] = ("ray", "matrix"),
    rays: int | None = None,
    finer: int = 2048,
    sources: Sequence[str] = SOURCES,
) -> Findings:
    """A line of 0.4 mm, a voxel of 1 mm and one of 0.5 mm before a knife edge of 1 mm: total, symmetry of
    columns and centroid.

    Args:
        energies_kev: photon energies.
        projectors: "ray", "matrix" or both.
        rays: number of rays for each pixel; None: as many as projectors choose by themselves.
        finer: number of rays of the truth.
        sources: names of the sources.
    """
    hole = Pinhole(40.0, 80.0, 1.0, 90.0, 6.0, (24, 24), 0.35, 2.0)
    points: list[Point] = []
    plots = []
    for energy in energies_kev:
        for source in (s for s in _sources() if s.name in sources):
            truth = _image(hole.camera(), energy, source, "ray", finer)
            for name in projectors:
                image = _image(hole.camera(), energy, source, name, rays)
                told = f"{source.name}_{name}_{energy:g}kev"
                points += _points(told, source, image, truth, hole.pitch_mm)
                if source.name == "line":
                    plots.append(_plot(told, source, image, truth, hole.pitch_mm))
    return Findings(points, plots)


def _sources() -> Iterator[_Source]:
    """:data:`SOURCES`."""
    line = VoxelGrid((40, 18, 2), 0.2)
    for name, first, central in (("line", 8, True), ("line_beside", 13, False)):
        activity = torch.zeros(line.shape, dtype=torch.float64)
        activity[:, first : first + 2] = 1.0
        yield _Source(name, "line of 0.4 x 0.4 x 8 mm in voxels of 0.2 mm", line, activity, central)
    for edge in (1.0, 0.5):
        grid = VoxelGrid((5, 7, 3), edge)
        for beside, central in ((0, True), (2, False)):
            activity = torch.zeros(grid.shape, dtype=torch.float64)
            activity[2, 3 + beside, 1] = 1.0
            name = f"voxel_{edge:g}mm".replace(".", "_") + ("" if central else "_beside")
            yield _Source(name, f"one voxel of {edge:g} mm", grid, activity, central, edge >= 1)


def _image(camera: Camera, energy_kev: float, source: _Source, projector: str, rays: int | None) -> Tensor:
    """First interactions [row, column] of one photon a second, in a vacuum."""
    energies, sampling = torch.tensor([energy_kev], dtype=torch.float64), RaySampling(rays)
    activity = (source.activity / source.activity.sum())[None, None]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        made: RayProjector | MatrixProjector
        if projector == "ray":
            made = RayProjector(camera, source.grid, energies, sampling)
        else:
            made = MatrixProjector(camera, source.grid, energies, folder, sampling, dtype=torch.float64)
        kept = made.attenuation(torch.zeros(1, *source.grid.shape, dtype=torch.float64))
        seen = made.forward(activity, kept)[0, :, 0, 0]
    return seen.reshape(camera.spec.detector.rows, camera.spec.detector.columns)


def _points(name: str, source: _Source, image: Tensor, truth: Tensor, pitch_mm: float) -> list[Point]:
    """Total and centroid against many rays, and columns against those that mirror them."""
    off = [a - b for a, b in zip(centroid_mm(image, pitch_mm), centroid_mm(truth, pitch_mm), strict=True)]
    total, away = abs(float(image.sum() / truth.sum()) - 1), max(map(abs, off)) / pitch_mm
    limits = (_TOTAL, _COLUMNS, _CENTROID) if source.is_held else (None, None, None)
    held, columns, centroid = limits
    note = f"{source.what}, knife edge of 1 mm, magnification 1, pixels of {pitch_mm:g} mm"
    points = [
        Point(f"{name}_total", total, held, _SOURCE, "convergence", note),
        Point(f"{name}_centroid", away, centroid, _SOURCE, "convergence", note, "pixel"),
    ]
    if source.is_central:
        column = image.sum(dim=0)
        apart = float((column - column.flip(0)).abs().max() / column.max())
        points.append(Point(f"{name}_columns", apart, columns, "the column mirrored", "symmetry", note))
    return points


def _plot(name: str, source: _Source, image: Tensor, truth: Tensor, pitch_mm: float) -> Plot:
    place = (np.arange(image.shape[1]) - (image.shape[1] - 1) / 2) * pitch_mm
    curves = {
        "projector": (place, np.asarray(image.sum(0).numpy())),
        "many rays": (place, np.asarray(truth.sum(0).numpy())),
    }
    caption = f"Profile of a {source.what}, before a knife edge of 1 mm."
    return Plot(name, caption, "place on the detector [mm]", "first interactions per photon", curves)
