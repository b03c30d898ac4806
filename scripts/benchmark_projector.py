"""Ray-traced against cached matrix projector: agreement, time and memory on one grid at two energies.

    python scripts/benchmark_projector.py [--camera alpha_spect_mini_binned] [--voxels 64] [--spacing-mm 0.5]

Times are the best of a few repeats in this one run, on the threads that torch uses.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from data_gen.camera import load_camera
from data_gen.core.grid import VoxelGrid
from data_gen.projector import MatrixProjector, RayProjector, RaySampling
from data_gen.validation.clock import best_s, copy_s, peak_gb


def mouse(grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    """Activity [1, 1, z, y, x] of a warm cylinder of 22 mm with hot spheres of 2 to 6 mm, and its density."""
    place = grid.centres_mm()
    body = (place[..., :2].norm(dim=-1) < 11) & (place[..., 2].abs() < 13)
    activity = body.to(torch.float32)
    for k, diameter in enumerate((2.0, 3.0, 4.0, 6.0)):
        middle = torch.tensor([6.0, 0.0, 3.0 * (k - 1.5)], dtype=torch.float64)
        turned = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        for _ in range(k):
            middle = turned @ middle
        activity[(place - middle).norm(dim=-1) < diameter / 2] = 10.0
    return activity[None, None], 1.05 * body.to(torch.float32)[None]


def measure(args: argparse.Namespace, energy_kev: float) -> dict[str, str]:
    """One column of the table."""
    camera, grid = load_camera(args.camera), VoxelGrid([args.voxels] * 3, args.spacing_mm)
    energies = torch.tensor([energy_kev], dtype=torch.float64)
    sampling = RaySampling(args.rays)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        began = time.perf_counter()
        matrix = MatrixProjector(camera, grid, energies, folder, sampling=sampling)
        built = time.perf_counter() - began
        peak = peak_gb()
        activity, density = mouse(grid)
        kept = matrix.attenuation(density)
        seen = matrix.forward(activity, kept)
        blocks = list(matrix.matrices[0])
        entries = sum(len(block.value) for block in blocks)
        size = sum(block.bytes for block in blocks)
        images = matrix.views.columns
        # The matrix that the product applies: every mirror image has its own bytes in it.
        copy, copy_stored = copy_s(size * images), copy_s(size)
        forward = best_s(lambda: matrix.forward(activity, kept), 5)
        attenuation = best_s(lambda: matrix.attenuation(density), 3)
        adjoint = best_s(lambda: matrix.adjoint(seen, kept), 5)
        chosen = torch.arange(0, camera.pixel_count, args.every)
        rays = RayProjector(camera, grid, energies, sampling=RaySampling(args.reference_rays)).subset(chosen)
        traced = rays.forward(activity, rays.attenuation(density))
        error = (seen[:, chosen] - traced).abs() / traced.max()
    return {
        "entries": f"{entries * images / 1e6:.1f} M, {entries / 1e6:.1f} M stored ({images} mirror images)",
        "bytes": f"{size * images / 1e6:.0f} MB, {size / 1e6:.0f} MB stored; once more transposed",
        "weight dropped": f"{100 * matrix.dropped[0]:.3f} %",
        "build": f"{built:.1f} s",
        "most memory so far": f"{peak:.1f} GB",
        "difference from rays": f"max {100 * float(error.max()):.2f} % of peak",
        "mean difference": f"{100 * float(error.mean()):.3f} % of peak",
        "copying the matrix": f"{1e3 * copy:.1f} ms, {1e3 * copy_stored:.1f} ms for what is stored",
        "forward": _times_copy(forward, copy, copy_stored),
        "adjoint": _times_copy(adjoint, copy, copy_stored),
        "attenuation of an object": f"{1e3 * attenuation:.1f} ms ({attenuation / forward:.1f} projections)",
    }


def _times_copy(seconds: float, copy: float, copy_stored: float) -> str:
    """A time, and its ratios to copying the whole matrix and to copying what is stored of it."""
    return f"{1e3 * seconds:.1f} ms ({seconds / copy:.2f} x copy, {seconds / copy_stored:.1f} x stored)"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--camera", default="alpha_spect_mini_binned")
    parser.add_argument("--voxels", type=int, default=64, help="along each axis")
    parser.add_argument("--spacing-mm", type=float, default=0.5)
    parser.add_argument("--energies-kev", type=float, nargs="+", default=[82.0, 440.0])
    parser.add_argument("--rays", type=int, default=RaySampling().rays, help="of the matrix, a pair")
    parser.add_argument("--reference-rays", type=int, default=512, help="of the ray projector, a pair")
    parser.add_argument("--every", type=int, default=37, help="compare every n-th pixel")
    args = parser.parse_args()
    columns = [measure(args, energy) for energy in args.energies_kev]
    title = (
        f"{args.camera}, {args.voxels}^3 voxels of {args.spacing_mm} mm, {torch.get_num_threads()} thread(s)"
    )
    table = Table(title=title)
    table.add_column("")
    for energy in args.energies_kev:
        table.add_column(f"{energy:g} keV")
    for row in columns[0]:
        table.add_row(row, *(column[row] for column in columns))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
