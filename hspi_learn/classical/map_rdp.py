"""Maximum a posteriori with the relative-difference prior, by a convergent ordered-subsets algorithm (BSREM).

From counts, or events, to activity in Bq per voxel. Sources: prior, Nuyts et al., IEEE Trans. Nucl. Sci. 49
(2002) 56; algorithm, De Pierro and Yamagishi, IEEE Trans. Med. Imaging 20 (2001) 280, and Ahn and Fessler,
ibid. 22 (2003) 613.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.ordered_subsets import MeasuredScan, OrderedSubsets, Update
from hspi_learn.reconstructor import ScanContext

LEAST_STEP = 0.1
"""Share of a voxel's activity that any update leaves, so that none sticks at 0; chosen, no source."""

LEAST_ACTIVITY_BQ = 1e-12
"""Sum of two voxels below which their difference costs nothing, Bq."""

Offset = tuple[int, ...]
"""From a voxel to a neighbour, in voxels along (z, y, x)."""


class MapRdp(OrderedSubsets):
    """Poisson likelihood less a penalty on relative differences between neighbours, map by map.

        maximise  sum n log y - y  -  penalty sum_(u, v) w_uv k_u k_v d^2 / (x_u + x_v + edge d),

        d = |x_u - x_v|,

    over pairs of neighbours of 26, w falling as their distance and summing to 1 around a voxel, k^2 = T s the
    counts expected per Bq of a voxel (time times sensitivity). Both terms then bend alike, as T s / x: the
    penalty is a pure number, and means the same at any count level, place and map. Updates are

        x <- x + a_i  x / (T s (1 + 2 penalty))  ( K grad L_k - grad R ),      a_i = 1 / (1 + relaxation i)

    in iteration i, for each of K subsets; they converge to the maximum as a_i falls. See
    :class:`~hspi_learn.classical.ordered_subsets.OrderedSubsets` for leakage and scatter, the start, and what
    becomes of silent pixels and hardly seen voxels.

    Args:
        model: the forward model, with the energy windows (or fine bins, for events) to reconstruct from.
        iterations: passes over all subsets.
        subsets: number of subsets.
        penalty: weight of the penalty; 0 is maximum likelihood.
        edge: how much less a large relative difference costs than a small one (gamma of Nuyts et al.).
        relaxation: how fast steps fall.
        postfilter_fwhm_mm: Gaussian smoothing of the last image, within the body; 0 for none.
        tied_iterations: first iterations, of EM, in which maps of short-lived daughters are held at
            equilibrium.

    Raises:
        UserError: a setting outside its range.
    """

    name = "map_rdp"
    tunable: ClassVar[tuple[str, ...]] = ("penalty", "edge", "iterations", "postfilter_fwhm_mm")
    version = 1

    def __init__(
        self,
        model: HyperspectralForwardModel,
        iterations: int = 20,
        subsets: int = 6,
        penalty: float = 1.0,
        edge: float = 2.0,
        relaxation: float = 0.1,
        postfilter_fwhm_mm: float = 0.0,
        tied_iterations: int = 0,
    ) -> None:
        self.penalty, self.edge, self.relaxation = float(penalty), float(edge), float(relaxation)
        super().__init__(model, iterations, subsets, postfilter_fwhm_mm, tied_iterations)

    def _check(self) -> None:
        super()._check()
        for key in ("penalty", "edge", "relaxation"):
            value = getattr(self, key)
            if not 0 <= value < math.inf:
                raise UserError(f"{self.name}.{key} is {value}; it needs to be a number, 0 or more")

    @property
    def settings(self) -> dict[str, Any]:
        """All that its images depend on besides the model, the counts and the object, as plain data."""
        own = {"penalty": self.penalty, "edge": self.edge, "relaxation": self.relaxation}
        return {**super().settings, **own}

    @property
    def told(self) -> str:
        """Its main settings in words."""
        return f"penalty {self.penalty:g}, {super().told}"

    def neighbours(self, context: ScanContext) -> Neighbours:  # noqa: ARG002  # the same in every object
        """What the penalty of scans of these objects compares."""
        return Neighbours(self.model.grid)

    def _update(self, scan: MeasuredScan, done: int) -> Update:
        voxels, duration_s = scan.voxels, scan.context.duration_s[:, None, None, None, None]
        counts_per_bq = voxels.seen * voxels.sensitivity * duration_s.to(voxels.sensitivity.dtype)
        step = 1 / (1 + self.relaxation * (done - self.tied_iterations))
        return partial(self._ascended, scan=scan, counts_per_bq=counts_per_bq, step=step)

    def _ascended(
        self,
        image: Tensor,
        back_projected: Tensor,
        sensitivity: Tensor,
        scan: MeasuredScan,
        counts_per_bq: Tensor,
        step: float,
    ) -> Tensor:
        """The image after one subset's step uphill; 0 for a scan without counts."""
        times = len(scan.rows) * scan.context.duration_s[:, None, None, None, None].to(image.dtype)
        uphill = times * (back_projected - sensitivity)
        neighbours = self.neighbours(scan.context)
        uphill = uphill - self.penalty * neighbours.gradient(image, counts_per_bq, self.edge)
        least = torch.finfo(image.dtype).tiny
        scale = step / (counts_per_bq * (1 + 2 * self.penalty)).clamp_min(least)
        moved = torch.maximum(image * (1 + scale * uphill), LEAST_STEP * image)
        some = (scan.total > 0)[:, None, None, None, None] & scan.voxels.seen
        return scan.voxels.bounded(torch.where(some, moved, 0.0))


class Neighbours:
    """The 26 neighbours of a voxel, weighted by one over their distance, in all 1.

    Args:
        grid: gives the voxel edges in mm.
    """

    def __init__(self, grid: VoxelGrid) -> None:
        offsets = [o for o in itertools.product((-1, 0, 1), repeat=3) if any(o)]
        distance_mm = [
            math.hypot(*(n * mm for n, mm in zip(o, grid.spacing_mm, strict=True))) for o in offsets
        ]
        total = sum(1 / d for d in distance_mm)
        self.weights = {o: 1 / (d * total) for o, d in zip(offsets, distance_mm, strict=True)}

    def penalty(self, image: Tensor, counts_per_bq: Tensor, edge: float) -> Tensor:
        """Sum over pairs of voxels, in counts, [batch, map]; see :class:`MapRdp`.

        Args:
            image: Bq per voxel, [batch, map, z, y, x].
            counts_per_bq: of each voxel, of the same shape; a voxel of 0 has no neighbours.
            edge: how much less a large relative difference costs than a small one.
        """
        total = image.new_zeros(image.shape[:2])
        for weight, there in self._pairs(image, counts_per_bq):
            apart = (image - there).abs()
            cost = apart.square() / (image + there + edge * apart).clamp_min(LEAST_ACTIVITY_BQ)
            total = total + (weight * cost).sum(dim=(2, 3, 4)) / 2  # each pair is met from both sides
        return total

    def gradient(self, image: Tensor, counts_per_bq: Tensor, edge: float) -> Tensor:
        """Derivative of :meth:`penalty` in every voxel, [batch, map, z, y, x]."""
        total = torch.zeros_like(image)
        for weight, there in self._pairs(image, counts_per_bq):
            apart = image - there
            scale = (image + there + edge * apart.abs()).clamp_min(LEAST_ACTIVITY_BQ)
            relative = apart / scale
            total = total + weight * relative * (edge * apart.abs() + image + 3 * there) / scale
        return total

    def weight(self, offset: Offset) -> Tensor | float:
        """Weight of the pair of each voxel with the one at this offset, without counts."""
        return self.weights[offset]

    def _pairs(self, image: Tensor, counts_per_bq: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each offset, weights of the pairs with the voxels there, and the image there."""
        root = (counts_per_bq > 0) * counts_per_bq.clamp_min(torch.finfo(image.dtype).tiny).sqrt()
        for offset in self.weights:
            yield self.weight(offset) * root * moved(root, offset), moved(image, offset)


def moved(volume: Tensor, offset: Offset) -> Tensor:
    """What lies ``offset`` voxels away, 0 beyond the grid; volume [batch, map, z, y, x]."""
    padded = torch.nn.functional.pad(volume, (1, 1, 1, 1, 1, 1))
    for axis, by in zip((2, 3, 4), offset, strict=True):
        padded = padded.narrow(axis, 1 + by, volume.shape[axis])
    return padded
