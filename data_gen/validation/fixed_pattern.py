"""Fixed-pattern noise of a ring of equal panels: a blob turned from panel to panel must give the same image.

What differs between the images is the numerical noise of the model (positions of rays, lines and
interactions, and voxels that are not turned), which totals and profiles hide and a reconstruction with the
same matrix cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from data_gen.camera import Camera, load_camera
from data_gen.core.errors import UserError
from data_gen.core.grid import EnergyWindows, VoxelGrid
from data_gen.forward_model.block_terms import ScatterTermName
from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.forward_model.options import ModelOptions
from data_gen.nuclides import decay_chain, tied_groups
from data_gen.validation.energy_windows import EIGHT_KEV
from data_gen.validation.point import Findings, Point

_SHARE = 0.1
"""Tolerance of the variance of the fixed pattern, as a share of the Poisson variance."""

_TOTAL = 0.003
"""Tolerance of the counts of one turned blob over the mean of all."""

_BODY_MM, _EDGE_MM = 11.0, 0.7
"""Radius of the cylinder of tissue about the axis and softness of its surface, so that it looks alike from
every panel; chosen, no source."""


def fixed_pattern(
    camera: str = "demo",
    nuclide: str = "Ra-223",
    events: float = 1e6,
    sigma_mm: float = 2.0,
    away_mm: Sequence[float] = (5.0, 1.5, 2.0),
    voxels: int = 24,
    spacing_mm: float = 1.2,
    options: ModelOptions | None = None,
) -> Findings:
    """Variance of the images of a Gaussian blob turned with the panels over the Poisson variance of a scan,
    in each of eight windows: of the whole model, and of each of its terms.

    Args:
        camera: name of a camera whose panels are equal and equally spaced on a ring.
        nuclide: parent; all activity maps are alike.
        events: counts of the scan in all windows together.
        sigma_mm: standard deviation of the blob.
        away_mm: its centre (x, y, z) before it is turned.
        voxels: number of voxels along each axis.
        spacing_mm: edge of a voxel.
        options: of the forward model.

    Raises:
        UserError: panels are not equally spaced.
    """
    built, grid, options = load_camera(camera), VoxelGrid([voxels] * 3, spacing_mm), options or ModelOptions()
    step = _step_deg(built)
    blobs = torch.stack([_blob(grid, sigma_mm, away_mm, k * step) for k in range(built.panels)])
    body = torch.sigmoid((_BODY_MM - grid.centres_mm()[..., :2].norm(dim=-1)) / _EDGE_MM).float()

    def images(terms: Sequence[ScatterTermName]) -> Tensor:
        """What each panel sees of the blob turned to it, [panel, pixel of panel, window]."""
        chain = decay_chain(nuclide)
        chosen = replace(options, scatter_terms=tuple(terms))
        model = HyperspectralForwardModel(
            built, chain, grid, EnergyWindows(EIGHT_KEV), tied_groups(chain), chosen
        )
        with torch.no_grad():
            state = model.attenuation(body[None])
            maps = len(model.groups.names)
            counts = [model.project(b.expand(1, maps, *grid.shape), state) for b in blobs.float()]
        seen: Tensor = torch.cat(counts).double().unflatten(1, (built.panels, -1))
        return seen

    whole = images(options.scatter_terms)
    # The blob turned by k steps, before panel k.
    own = torch.stack([whole[k, k] for k in range(built.panels)])
    scale = events / float(whole[0].sum())
    note = f"{camera}, {nuclide}, blob of {sigma_mm:g} mm sigma in a cylinder of tissue, {events:g} events"
    points = [*_totals(whole.sum(dim=(1, 2, 3)), note), *_windows("whole", own, own, scale, note, _SHARE)]
    sharp = images(())
    parts = {"apertures": sharp} | {name: images((name,)) - sharp for name in options.scatter_terms}
    for name, part in parts.items():
        alone = torch.stack([part[k, k] for k in range(built.panels)])
        points += _windows(name, alone, own, scale, note, None)
    return Findings(points)


def _step_deg(camera: Camera) -> float:
    """Angle between neighbouring panels."""
    angles = camera.spec.panels.angles_deg
    step = 360.0 / len(angles)
    if camera.spec.panels.rotation or any(abs(a - angles[0] - k * step) > 1e-6 for k, a in enumerate(angles)):
        raise UserError(f"{camera.name} has panels at {list(angles)}; they need equal steps around the ring")
    return step


def _blob(grid: VoxelGrid, sigma_mm: float, away_mm: Sequence[float], turn_deg: float) -> Tensor:
    """1 Bq in a Gaussian about a place that is turned about z, [z, y, x]."""
    x, y, z = away_mm
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    middle = torch.tensor((cos * x - sin * y, sin * x + cos * y, z), dtype=torch.float64)
    bell = torch.exp(-(grid.centres_mm() - middle).square().sum(-1) / (2 * sigma_mm**2))
    return bell / bell.sum()


def _totals(total: Tensor, note: str) -> list[Point]:
    """Counts of the whole camera for each turned blob, over their mean."""
    value = float((total / total.mean() - 1).abs().max())
    return [Point("total", value, _TOTAL, "the mean of all turned blobs", "symmetry of the ring", note)]


def _windows(
    name: str, part: Tensor, whole: Tensor, scale: float, note: str, limit: float | None
) -> list[Point]:
    """Variance over panels of a part of the counts [panel, pixel, window], over the Poisson variance of the
    whole, both summed over pixels, in each window."""
    fixed = scale**2 * part.var(dim=0).sum(dim=0)
    poisson = scale * whole.mean(dim=0).sum(dim=0)
    relative = fixed.sqrt() / (scale * part.mean(dim=0).square().sum(dim=0).sqrt()).clamp_min(1e-30)
    share = scale * part.mean(dim=0).sum(dim=0) / poisson
    points = []
    for k, (low, high) in enumerate(pairwise(EIGHT_KEV)):
        value = float(fixed[k] / poisson[k])
        told = f"{note}; {100 * float(relative[k]):.2g} % rms, {100 * float(share[k]):.3g} % of the counts"
        truth, source = "Poisson variance of the scan", "symmetry of the ring"
        points.append(Point(f"{name}_{low:g}_{high:g}kev", value, limit, truth, source, told))
    return points
