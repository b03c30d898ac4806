"""Random fields inside a tumour: Gaussian random fields for clusters of cells, and distances from vessels in
mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PIECE = 200_000
"""Points whose distances to all vessels are held at once, over the number of vessels."""


def gaussian_field(
    shape: Sequence[int], spacing_mm: Sequence[float], correlation_mm: float, generator: torch.Generator
) -> Tensor:
    """A Gaussian random field of mean 0 and variance 1, correlated as exp(-(r / correlation)^2), float64.

    White noise smoothed by a Gaussian of half that length; margins keep opposite ends apart.
    """
    field_shape = [n + math.ceil(4 * correlation_mm / s) for n, s in zip(shape, spacing_mm, strict=True)]
    noise = torch.randn(field_shape, generator=generator, dtype=torch.float64)
    gain = torch.ones((), dtype=torch.float64)
    for axis, (count, step) in enumerate(zip(field_shape, spacing_mm, strict=True)):
        cycles = torch.fft.rfftfreq(count, step) if axis == 2 else torch.fft.fftfreq(count, step)
        along = torch.exp(-0.5 * (math.pi * cycles.to(torch.float64) * correlation_mm).square())
        gain = gain[..., None] * along if axis else along
    smooth = torch.fft.irfftn(torch.fft.rfftn(noise) * gain, s=field_shape)
    kernel = torch.fft.irfftn(gain.to(torch.complex128), s=field_shape)
    field: Tensor = smooth[tuple(slice(n) for n in shape)] / kernel.square().sum().sqrt()
    return field


def vessel_distance(
    points_mm: Tensor, radius_mm: float, spacing_mm: float, generator: torch.Generator
) -> Tensor:
    """Distance of points [n, 3] from the nearest of straight vessels in all directions, [n] in mm.

    Vessels are a Poisson process of lines that meet the sphere of this radius about the origin, 1 / spacing^2
    mm long in each mm3, so that a random point is farther than d from all of them with the probability
    exp(-pi (d / spacing)^2). There is at least one.
    """
    mean = torch.tensor(math.pi * (radius_mm / spacing_mm) ** 2, dtype=torch.float64)
    count = max(1, int(torch.poisson(mean, generator=generator)))
    along = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True)
    # Lines in all directions pass evenly through the disk across them.
    aside = torch.linalg.cross(along, torch.randn(count, 3, generator=generator, dtype=torch.float64))
    share = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    through = aside / aside.norm(dim=1, keepdim=True) * (radius_mm * share.sqrt())
    nearest = []
    for piece in points_mm.split(max(1, _PIECE // count)):
        # Squared distance to a line: |p - c|^2 - (p . u)^2, as c is across u.
        squared = (
            piece.square().sum(1, keepdim=True)
            - 2 * piece @ through.T
            + through.square().sum(1)
            - (piece @ along.T).square()
        )
        nearest.append(squared.min(dim=1).values.clamp_min(0.0).sqrt())
    return torch.cat(nearest)
