"""Mirror symmetry of a camera: apertures that are mirror images of each other share matrix rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import torch
from torch import Tensor

from data_gen.camera import Camera

ON_PLANE_MM = 1e-3
"""Nearer than this to a plane through the isocentre is on it."""


def octant(point_mm: Tensor) -> Tensor:
    """Signs of (x, y, z), [k, 3], 1 on a plane: the mirrors that fold a point into the first octant."""
    return torch.where(point_mm.detach() < -ON_PLANE_MM, -1.0, 1.0).to(torch.float64)


@dataclass(frozen=True)
class MirrorOrbits:
    """A camera as a few apertures with their pixels, and the mirrors that generate the rest of it.

    The grid is its own mirror image in each plane through the isocentre. A matrix row of a mirrored pair of
    pixel and aperture is thus the first pair's row, applied to the mirrored activity.
    """

    mirrors: tuple[tuple[int, ...], ...]
    """Axes of [z, y, x] to flip, counted from the last (-1 is x), for each mirror; the first flips none."""
    aperture: Tensor
    """Aperture of the camera, [orbit, mirror]."""
    first_pair: Tensor
    """Pair of the camera that a row is of, [row]."""
    row: Tensor
    """Row of each pair, [pair]."""
    mirror: Tensor
    """Mirror of each pair, [pair]."""
    orbit: Tensor
    """Orbit of each row's aperture, [row], rising."""


def mirror_orbits(camera: Camera) -> MirrorOrbits:
    """The largest set of mirrors that map the camera onto itself and no aperture onto itself."""
    for count in (3, 2, 1):
        for axes in combinations(range(3), count):
            found = _folded(camera, axes)
            if found is not None:
                return found
    unfolded = _folded(camera, ())
    assert unfolded is not None
    return unfolded


def _folded(camera: Camera, axes: tuple[int, ...]) -> MirrorOrbits | None:
    """The orbits under mirrors across axes 0 (x), 1 (y), 2 (z); None if they are no symmetry."""
    mirrors = 2 ** len(axes)
    signs = torch.ones_like(camera.aperture_centre_mm.detach())
    signs[:, list(axes)] = octant(camera.aperture_centre_mm)[:, list(axes)]
    which = ((signs < 0).to(torch.int64) * _digits(axes)).sum(dim=1)
    orbit = _classes(_aperture_numbers(camera, signs))
    if not _is_product(orbit, which, mirrors):
        return None
    pixel, aperture = camera.pairs.unbind(dim=1)
    place = camera.pixel_centre_mm.detach()[pixel] * signs[aperture]
    row = _classes(torch.cat((orbit[aperture, None].to(place.dtype), place), dim=1))  # rising by orbit
    if not _is_product(row, which[aperture], mirrors):
        return None
    first = torch.empty(int(row.max()) + 1, dtype=torch.int64)
    unmirrored = (which[aperture] == 0).nonzero()[:, 0]
    first[row[unmirrored]] = unmirrored
    table = torch.empty(int(orbit.max()) + 1, mirrors, dtype=torch.int64)
    table[orbit, which] = torch.arange(len(orbit))
    order = [bits[::-1] for bits in product((0, 1), repeat=len(axes))]
    flips = [tuple(-1 - a for a, bit in zip(axes, bits, strict=True) if bit) for bits in order]
    return MirrorOrbits(tuple(flips), table, first, row, which[aperture], orbit[aperture[first]])


def _digits(axes: tuple[int, ...]) -> Tensor:
    """Value of a mirror's binary digit for each axis (x, y, z), 0 where it does not mirror."""
    return torch.tensor([2 ** axes.index(a) if a in axes else 0 for a in range(3)])


def _aperture_numbers(camera: Camera, signs: Tensor) -> Tensor:
    """All that tells apertures apart, folded by their mirrors, [aperture, n]."""
    panel = camera.aperture_panel
    parts = (
        camera.aperture_centre_mm * signs,
        camera.aperture_axis * signs,
        camera.panel_normal[panel] * signs,
        camera.panel_u[panel].abs(),
        camera.panel_v[panel].abs(),
        camera.aperture_diameter_mm[:, None],
        camera.aperture_opening,
    )
    return torch.cat([part.detach() for part in parts], dim=1)


def _classes(numbers: Tensor) -> Tensor:
    """Index of each row of numbers among the distinct rows, which differ by more than 1e-6."""
    classes: Tensor = torch.unique((numbers * 1e6).round().to(torch.int64), dim=0, return_inverse=True)[1]
    return classes


def _is_product(major: Tensor, minor: Tensor, minors: int) -> bool:
    """Whether each pair (major, minor) occurs exactly once."""
    if len(major) != (int(major.max()) + 1) * minors:
        return False
    return bool((torch.bincount(major * minors + minor, minlength=len(major)) == 1).all())
