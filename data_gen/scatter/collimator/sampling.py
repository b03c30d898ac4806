"""Resolution of the computation of collimator scatter: numbers of rays, interactions and paths."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LEAST_SHARE = 0.25
"""Smallest fraction of the rays, however many apertures there are."""

SEEN_FALLS = 2 / 3
"""Power of the number of apertures by which the number of interactions per block falls, as blocks
are more.
"""


@dataclass(frozen=True)
class CollimatorSampling:
    """Resolution of the computation of scatter in the collimator.

    Numbers are those around the aperture of a camera with a single one; see :meth:`shared_by`.

    Args:
        voxel_mm: edge of the coarse voxels, at most.
        open_rays: rays from a voxel through the open waist.
        plate_rays: rays from a voxel through the rest of the plate around the waist.
        steps: number of integration steps on a ray, through half of the plate and from there to the
            detector.
        interactions: first interactions of photons from a voxel.
        orders: interactions of a photon that are followed.
        walks: photons from a voxel that are followed after their first interaction.
        walk_steps: steps of integration from such an interaction onwards.
        seen: interactions of any order per voxel whose Compton photons contribute to a block.
        k_stops: first interactions from a voxel that emit K X-rays; of later ones as many fewer as fewer
            photons take part.
        out_steps: steps of integration from an interaction to a block.
        classes: number of classes of arrival energy after Compton scatter.
    """

    voxel_mm: float = 5.4
    open_rays: int = 96
    plate_rays: int = 960
    steps: int = 24
    interactions: int = 2800
    orders: int = 6
    walks: int = 900
    walk_steps: int = 30
    seen: int = 1200
    k_stops: int = 4000
    out_steps: int = 8
    classes: int = 8

    def shared_by(self, apertures: int) -> CollimatorSampling:
        """Fewer of all around each aperture of a camera with so many, since their errors average out."""
        share = 1 / math.sqrt(apertures)
        inner, outer = (round(max(LEAST_SHARE, share) * n) for n in (self.open_rays, self.plate_rays))
        names = ("interactions", "walks", "k_stops")
        drawn = {name: max(24, round(share * getattr(self, name))) for name in names}
        seen = max(24, round(apertures**-SEEN_FALLS * self.seen))
        return replace(self, open_rays=inner, plate_rays=outer, seen=seen, **drawn)
