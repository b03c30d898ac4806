"""Numbers and positions of the rays between a pixel and an aperture: quadrature nodes in mm, areas in mm2.

Nodes are a low-discrepancy sequence, moved as a whole from pixel to pixel (Cranley and Patterson, SIAM J.
Numer. Anal. 13 (1976) 904), so that every pixel is unbiased and errors of neighbours cancel.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from data_gen.core.errors import UserError

MOST_STRETCH = 8.0
"""Largest width of a ring relative to the finest distance between its nodes (times their number)."""

FEWEST_RAYS, MOST_RAYS = 64, 512
"""Bounds of the number of rays that is chosen where none is asked for."""

RAYS_PER_VOXEL = 20.0
"""Rays that meet a voxel at the isocentre, of those of a pixel that looks at it, where the number is
chosen."""


@dataclass(frozen=True)
class RaySampling:
    """Numbers of quadrature nodes; more is slower and finer.

    Args:
        rays: number of rays for each pair of pixel and aperture, where the plate stops what misses the
            opening; several times as many where photons penetrate a zone around it that is wider than the
            opening itself. None: as many as the voxels need, see :meth:`chosen`.
        plate_steps: steps through each half of the plate.
    """

    rays: int | None = None
    plate_steps: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "rays" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"sampling.{name} is {value!r}; it needs a whole number of 1 or more")

    @property
    def count(self) -> int:
        """Rays for each pair of pixel and aperture; the fewest where they are not chosen yet."""
        return self.rays or FEWEST_RAYS

    @property
    def most(self) -> int:
        """Rays for each pair of pixel and aperture, whatever the voxels."""
        return self.rays or MOST_RAYS

    def chosen(self, seen_mm: float, voxel_mm: float) -> RaySampling:
        """These numbers, with the rays chosen where none are asked for: twenty a voxel of those that a
        pixel sees, 64 at least and 512 at most.

        Args:
            seen_mm: diameter at the isocentre of what a pixel sees through the open waist.
            voxel_mm: edge of the voxels.
        """
        if self.rays is not None:
            return self
        wanted = math.ceil(RAYS_PER_VOXEL * math.pi / 4 * (seen_mm / voxel_mm) ** 2)
        return replace(self, rays=min(max(wanted, FEWEST_RAYS), MOST_RAYS))

    def split(self, radius_mm: float, fold_mm: float, most_times: float) -> tuple[int, int]:
        """Rays inside the open waist, and in the zone around it where transmission falls by e per fold;
        together up to ``most_times`` as many as :attr:`count`."""
        edge = 2 * fold_mm * (radius_mm + fold_mm) / radius_mm**2
        total = round(self.count * min(most_times, 1 + edge))
        outside = max(1, round(total * min(0.9, max(0.25, edge / (1 + edge)))))
        return max(1, total - outside), outside


def golden_steps(dimensions: int) -> Tensor:
    """Steps of the Kronecker sequence of the generalised golden ratio, float64 [dimension]."""
    ratio = 2.0
    for _ in range(50):  # root of x^(d+1) = x + 1
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    return torch.tensor([ratio ** -(k + 1) for k in range(dimensions)], dtype=torch.float64)


def spread_points(count: int, dimensions: int) -> Tensor:
    """Low-discrepancy points in the unit cube, also for every run of them: the Kronecker sequence of the
    generalised golden ratio, float64 [count, dimensions].
    """
    return (0.5 + torch.arange(count, dtype=torch.float64)[:, None] * golden_steps(dimensions)) % 1.0


def shifted_points(count: int, dimensions: int, seed: int) -> Tensor:
    """:func:`spread_points` moved by a random vector, so that errors of different seeds are independent."""
    shift = torch.rand(dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (spread_points(count, dimensions) + shift) % 1.0


def root_steps(count: int) -> Tensor:
    """Steps of sequences in many dimensions that are even for every run of each: fractional parts of the
    square roots of the first primes (Richtmyer 1951), up to 78, float64 [count]."""
    primes = [n for n in range(2, 400) if all(n % k for k in range(2, math.isqrt(n) + 1))]
    return torch.tensor(primes[:count], dtype=torch.float64).sqrt() % 1.0


def place_shifts(place: Tensor, dimensions: int) -> Tensor:
    """Shifts in 0..1 that whole numbers tell apart, even over every run of neighbours, [k, dimensions].

    A Kronecker sequence in each of the numbers, so that errors of neighbours cancel, as those of independent
    shifts would not.

    Args:
        place: whole numbers, [k, n].
        dimensions: of the shifts.
    """
    count = place.shape[1]
    steps = root_steps(count * dimensions).reshape(count, dimensions)
    return (place.to(torch.float64) @ steps.to(place.device)) % 1.0


def waist_nodes(
    radius: Tensor, fold_mm: float, edge_mm: float, counts: tuple[int, int], shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Radii about an aperture's centre, and the area that one point at each stands for.

    The open waist is cut into equal areas, the zone of width ``edge_mm`` around it by radii that start as
    fine as ``fold_mm``. The nodes move with the radius, so that it has an exact gradient.

    Args:
        radius: radius of the waists [k], mm.
        fold_mm: distance in which transmission falls by e.
        edge_mm: width of the zone.
        counts: nodes in the opening and in the zone.
        shift: place of the nodes in their intervals, 0..1, [k].

    Returns:
        Radius mm and area mm2, [k, ray] each, outermost last.
    """
    inner, outer = (
        (torch.arange(n, dtype=torch.float64, device=radius.device) + shift[:, None]) / n for n in counts
    )
    edge, area = ring_nodes(radius[:, None], (radius + edge_mm)[:, None], fold_mm, outer)
    core_area = (math.pi * radius.square() / counts[0])[:, None].expand(-1, counts[0])
    return torch.cat((radius[:, None] * inner.sqrt(), edge), dim=1), torch.cat((core_area, area), dim=1)


def ring_nodes(first: Tensor, last: Tensor, fold_mm: float, share: Tensor) -> tuple[Tensor, Tensor]:
    """Radii between ``first`` and ``last``, as fine as ``fold_mm`` at first, and the area of each.

    Args:
        first: inner radius, [k, 1] or [k, node] mm.
        last: outer radius, of the same shape.
        fold_mm: distance in which transmission falls by e.
        share: quantile of each node, [node] or [k, node] in 0..1.

    Returns:
        Radius mm and area mm2, [k, node] each.
    """
    scale = torch.clamp((last - first) / MOST_STRETCH, min=fold_mm)
    growth = torch.log1p((last - first) / scale)
    radius = first + scale * torch.expm1(growth * share)
    width = scale * growth * torch.exp(growth * share) / share.shape[-1]
    return radius, 2 * math.pi * radius * width
