"""Relative error of counts by interpolating photon lines between a few reference energies.

The truth is the same model with many reference energies. docs/physics.md, section 1.
"""

from __future__ import annotations

import torch

from data_gen.camera import load_camera
from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.forward_model import ModelOptions
from data_gen.validation.point import Findings, Point
from data_gen.validation.warm import warm_model


def grouping(
    camera: str = "demo", nuclide: str = "Ra-223", voxels: int = 16, groups: int = 8, many: int = 24
) -> Findings:
    """Relative deviation of the counts of the whole camera in each energy window; tolerance 1 %.

    Args:
        camera: name.
        nuclide: parent of the chain.
        voxels: number of voxels along each axis of 28 mm.
        groups: upper limit on the reference energies of the model that is checked.
        many: upper limit on the reference energies of the model taken as truth.
    """
    windows = EnergyWindows([20, 60, 100, 180, 250, 320, 380, 480, 600])
    totals = []
    for count in (groups, many):
        model, activity, state = warm_model(
            load_camera(camera), nuclide, VoxelGrid([voxels] * 3, 28.0 / voxels), 58, ModelOptions(count)
        )
        with torch.no_grad():
            totals.append(model.with_energy_bins(windows).project(activity, state).sum((0, 1)).double())
    few, every = totals
    edges = windows.edges_kev
    note = f"{camera}, {nuclide}, {groups} energies for {many}"
    return Findings(
        [
            Point(
                f"window_{float(low):g}_{float(high):g}kev",
                abs(float(a / b) - 1),
                0.01,
                "the same with many reference energies",
                "refinement",
                note,
            )
            for low, high, a, b in zip(edges[:-1], edges[1:], few, every, strict=True)
        ]
    )
