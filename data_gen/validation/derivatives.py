"""Gradients by automatic differentiation compared with finite differences, in float64."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from data_gen.core.grid import VoxelGrid
from data_gen.detector import CRYSTALS, CdTeResponse
from data_gen.detector.constants import CONSTANTS
from data_gen.projector import RayProjector, RaySampling
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import ring

_GRID = VoxelGrid((4, 4, 5), (5.0, 5.0, 4.5))
_LIMIT = 1e-4
"""Tolerance of the relative difference; rounding leaves about 1e-5 of it."""

_STEP = 1e-8
"""Relative step of a value: so small that hardly a ray crosses from one voxel's centre to the next on the
way.
"""

_SECONDS = 30.0
"""Tolerance of the computing time, a design target."""


def gradients(energies_kev: Sequence[float] = (82.0, 218.0), bins: int = 240, rays: int = 12) -> Findings:
    """Activity, density, diameter, pose, and every continuous constant of the CdTe response.

    Args:
        energies_kev: energies of the photons, one after another in the projector and all in the response.
        bins: of the response's spectrum, 10 to 250 keV.
        rays: number of rays for each pair of pixel and aperture.
    """
    began = time.perf_counter()
    points = [*of_geometry(energies_kev, rays), *_detector(energies_kev, bins)]
    seconds = time.perf_counter() - began
    points.append(Point("seconds", seconds, _SECONDS, "at most 30 s", "design target", "all of these", "s"))
    return Findings(points)


def of_geometry(energies_kev: Sequence[float], rays: int) -> list[Point]:
    """With respect to activity, density, diameter and pose."""
    camera, shape = ring((0.0, 70.0), (1, 1), (3, 3), 3.0), (1, 1, *_GRID.shape)
    generator = torch.Generator().manual_seed(1)
    start = {
        "activity": torch.rand(shape, generator=generator, dtype=torch.float64),
        "density": 0.9 + 0.2 * torch.rand(1, *_GRID.shape, generator=generator, dtype=torch.float64),
        "diameter": camera.aperture_diameter_mm,
        "pose_aperture": camera.aperture_centre_mm,
        "pose_pixels": camera.pixel_centre_mm,
    }
    energies = torch.tensor(energies_kev, dtype=torch.float64)

    def seen(values: dict[str, Tensor]) -> Tensor:
        moved = replace(
            camera,
            aperture_diameter_mm=values["diameter"],
            aperture_centre_mm=values["pose_aperture"],
            pixel_centre_mm=values["pose_pixels"],
        )
        projector = RayProjector(moved, _GRID, energies, sampling=RaySampling(rays, 4))
        return projector.forward(values["activity"], projector.attenuation(values["density"])) * 1e6

    note = f"ray projector, {', '.join(f'{e:g}' for e in energies_kev)} keV"
    return [_point(name, _deviation(seen, start, name), note) for name in start]


def _detector(energies_kev: Sequence[float], bins: int) -> list[Point]:
    """Every continuous constant of the response, at those of a typical crystal."""
    energy = torch.tensor(energies_kev, dtype=torch.float64)
    edges = torch.linspace(10.0, 250.0, bins + 1, dtype=torch.float64)
    # All terms; of a cloud of 2 um the spectrum hardly depends, too little for differences.
    plain = CdTeResponse(2.0, 0.25, **(CRYSTALS["typical"] | {"cloud_um": 10.0}))
    start = {name: torch.tensor(getattr(plain, name), dtype=torch.float64) for name in CONSTANTS}

    def spectrum(values: dict[str, Tensor]) -> Tensor:
        changed: Any = dict(values)
        return replace(plain, **changed).kernel(energy, edges) * 1e2

    note = f"response of a typical crystal, {', '.join(f'{e:g}' for e in energies_kev)} keV"
    return [_point(f"detector_{name}", _deviation(spectrum, start, name), note) for name in start]


def _deviation(function: Callable[[dict[str, Tensor]], Tensor], start: dict[str, Tensor], name: str) -> float:
    """Derivative in a random direction of one value, by autograd and by central differences, relative."""
    generator = torch.Generator().manual_seed(2)
    value = start[name].detach()
    direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    step = _STEP * (float(value.abs().max()) or 1.0)

    def projected(at: Tensor) -> Tensor:
        out = function({**start, name: at})
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return (out * weights).sum()

    free = value.clone().requires_grad_()
    (slope,) = torch.autograd.grad(projected(free), free)
    exact = float((slope * direction).sum())
    with torch.no_grad():
        numeric = float(projected(value + step * direction) - projected(value - step * direction)) / (
            2 * step
        )
    return abs(exact - numeric) / max(abs(exact), abs(numeric), 1e-12)


def _point(name: str, deviation: float, note: str) -> Point:
    return Point(name, deviation, _LIMIT, "central differences", "definition of the derivative", note)
