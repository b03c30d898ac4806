"""Numerical error of the projectors: relative change of first interactions by finer voxels and more rays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from data_gen.camera import Camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.validation.point import Findings, Point
from data_gen.validation.scenes import ring

_SIDE_MM = 24.0
"""Edge of the cube of voxels; chosen, no source."""
_SOURCE = "the same integrals, twice as fine"


def refinement(
    voxels: int = 24, energies_kev: Sequence[float] = (82.0, 218.0, 440.0), rays: int = 64
) -> Findings:
    """Relative change of images by halved voxels, doubled rays and doubled plate steps, for a Gaussian of
    activity in a cylinder of tissue; and what a matrix of half voxels loses by coarser columns.

    Args:
        voxels: number of voxels along each edge of a 24 mm cube.
        energies_kev: photon energies.
        rays: number of rays for each pixel.
    """
    camera = ring((0.0,), (1, 1), (40, 40), 0.25, diameter_mm=0.35)
    energies = torch.tensor(energies_kev, dtype=torch.float64)

    def by_rays(grid: VoxelGrid, sampling: RaySampling) -> Tensor:
        return _seen(RayProjector(camera, grid, energies, sampling=sampling), grid)

    coarse, fine = (VoxelGrid([n] * 3, _SIDE_MM / n) for n in (voxels, 2 * voxels))
    usual, finer = by_rays(coarse, RaySampling(rays)), by_rays(fine, RaySampling(rays))
    found = [
        *_points("voxels_ray", finer, usual, energies_kev),
        *_points("rays_ray", by_rays(coarse, RaySampling(2 * rays)), usual, energies_kev),
        *_points("plate_steps_ray", by_rays(coarse, RaySampling(rays, 16)), usual, energies_kev),
    ]
    with tempfile.TemporaryDirectory() as folder:
        by_matrix = _by_matrix(camera, energies, folder)
        usual = by_matrix(coarse, RaySampling(rays))
        matrix = by_matrix(fine, RaySampling(rays))
        found += _points("voxels_matrix", matrix, usual, energies_kev)
        found += _points("coarser_columns", matrix, finer, energies_kev)
        found += _points("rays_matrix", by_matrix(coarse, RaySampling(2 * rays)), usual, energies_kev)
    return Findings(found)


def _by_matrix(camera: Camera, energies: Tensor, folder: str) -> Callable[[VoxelGrid, RaySampling], Tensor]:
    def seen(grid: VoxelGrid, sampling: RaySampling) -> Tensor:
        return _seen(MatrixProjector(camera, grid, energies, folder, sampling=sampling), grid)

    return seen


def _seen(projector: RayProjector | MatrixProjector, grid: VoxelGrid) -> Tensor:
    """First interactions [pixel, g] for activity of 1 Bq in all, sigma 3 mm, off the centre."""
    place = grid.centres_mm()
    middle = torch.tensor([2.0, -1.5, 1.0], dtype=torch.float64)
    activity = torch.exp(-(place - middle).square().sum(-1) / (2 * 3.0**2))
    # A smooth body, so that the integral of its density does not depend on the voxels.
    density = 1.06 * torch.sigmoid((10.0 - place[..., :2].norm(dim=-1)) / 1.0)
    activity, density = (activity / activity.sum()).float()[None, None], density.float()[None]
    with torch.no_grad():
        return projector.forward(activity, projector.attenuation(density))[0, :, :, 0].double()


def _points(name: str, fine: Tensor, coarse: Tensor, energies_kev: Sequence[float]) -> list[Point]:
    """Change of the sum, and mean change of pixels relative to their mean, at each energy."""
    what = name.replace("_", ", ")
    found = []
    for g, energy in enumerate(energies_kev):
        total = float((fine[:, g].sum() / coarse[:, g].sum() - 1).abs())
        pixels = float((fine[:, g] - coarse[:, g]).abs().mean() / fine[:, g].mean())
        note = f"{what} projector, {energy:g} keV"
        found.append(Point(f"{name}_sum_{energy:g}kev", total, 0.01, _SOURCE, "convergence", note))
        found.append(Point(f"{name}_pixels_{energy:g}kev", pixels, 0.01, _SOURCE, "convergence", note))
    return found
