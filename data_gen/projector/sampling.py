"""How many rays stand for the photons between a pixel and an aperture, and where they run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from data_gen.errors import UserError


@dataclass(frozen=True)
class RaySampling:
    """Numbers of quadrature nodes; more is slower and finer.

    Args:
        core_rings: radii inside the open waist of an aperture.
        edge_rings: radii in the zone around it that photons penetrate.
        angles: directions about the aperture's centre, at each radius.
        plate_steps: steps through each half of the plate.
    """

    core_rings: int = 3
    edge_rings: int = 4
    angles: int = 8
    plate_steps: int = 6

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"sampling.{name} is {value!r}; it needs a whole number of 1 or more")

    @property
    def rays(self) -> int:
        """Rays for each pair of pixel and aperture."""
        return (self.core_rings + self.edge_rings) * self.angles


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature on 0..1, float64 [count] each."""
    node, weight = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((node + 1) / 2), torch.from_numpy(weight / 2)


def spread_points(count: int, dimensions: int) -> Tensor:
    """Evenly spread points in the unit cube, every run of them too: the Kronecker sequence of the
    generalised golden ratio, float64 [count, dimensions]."""
    ratio = 2.0
    for _ in range(50):  # root of x^(d+1) = x + 1
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    step = torch.tensor([ratio ** -(k + 1) for k in range(dimensions)], dtype=torch.float64)
    return (0.5 + torch.arange(count, dtype=torch.float64)[:, None] * step) % 1.0


def polar_nodes(
    radius: Tensor, edge_mm: float, finest_mm: float, sampling: RaySampling
) -> tuple[Tensor, Tensor]:
    """Points of the waist plane about the aperture's centre, and the area each stands for.

    The open waist is cut by area, the penetrated zone of width ``edge_mm`` around it by radii that start
    as fine as ``finest_mm``. The nodes move with the radius, so that it has an exact gradient.

    Args:
        radius: of the waists [k], mm.

    Returns:
        (u, v) mm [k, ray, 2] and area mm2 [k, ray], rings outermost last.
    """
    inner, inner_weight = gauss_legendre(sampling.core_rings)
    outer, outer_weight = gauss_legendre(sampling.edge_rings)
    growth = math.log1p(edge_mm / finest_mm)
    beyond = edge_mm * torch.expm1(growth * outer) / math.expm1(growth)
    width = edge_mm * growth * torch.exp(growth * outer) / math.expm1(growth) * outer_weight
    core = radius[:, None] * inner.sqrt()
    edge = radius[:, None] + beyond
    rho = torch.cat((core, edge), dim=1)
    area = torch.cat((math.pi * radius[:, None] ** 2 * inner_weight, 2 * math.pi * edge * width), dim=1)
    rings, angles = rho.shape[1], sampling.angles
    turn = spread_points(rings, 1)
    angle = 2 * math.pi * (torch.arange(angles, dtype=torch.float64) + turn) / angles
    point = rho[..., None, None] * torch.stack((angle.cos(), angle.sin()), dim=-1)
    return point.flatten(1, 2), (area[..., None] / angles).expand(-1, -1, angles).flatten(1, 2)


def depth_nodes(mu_per_mm: Tensor, thickness_mm: float, share: Tensor) -> tuple[Tensor, Tensor]:
    """Depths in the detector at shares 0..1 of the interactions at all energies together.

    Args:
        mu_per_mm: of the detector at each energy, [g].
        share: [ray].

    Returns:
        Depth mm [ray] and the density of depths there, 1/mm [ray].
    """
    depth = torch.linspace(0, thickness_mm, 2001, dtype=torch.float64)
    mu = mu_per_mm.detach()
    reached = (torch.expm1(-mu * depth[:, None]) / torch.expm1(-mu * thickness_mm)).mean(dim=1)
    at = torch.from_numpy(np.interp(share.numpy(), reached.numpy(), depth.numpy()))
    density = (mu * torch.exp(-mu * at[:, None]) / -torch.expm1(-mu * thickness_mm)).mean(dim=1)
    return at, density
