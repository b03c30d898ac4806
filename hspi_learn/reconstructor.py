"""What every reconstruction method offers, trained or classical, so that all are evaluated alike."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel, ObjectState


class ScanBatch(NamedTuple):
    """Scans as networks and evaluations see them.

    Units are in the names; ``activity`` is the truth, the mean over the scan, of the head of each group.
    """

    projections: Tensor
    """Counts [batch, pixel, window]."""
    duration_s: Tensor
    """Measured time [batch] in s."""
    density: Tensor
    """[batch, z, y, x] in g/cm3."""
    activity: Tensor
    """[batch, map, z, y, x] in Bq per voxel."""
    labels: Tensor
    """Organ of each voxel [batch, z, y, x], int64; see ``data_gen.phantoms.ORGANS``."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """Number of the scan in its split [batch], int64."""


class ScanContext(NamedTuple):
    """What a method is told of a scan besides its counts; the same for every method."""

    density: Tensor
    """[batch, z, y, x] in g/cm3."""
    duration_s: Tensor
    """[batch] in s."""
    attenuation: ObjectState
    """From ``model.attenuation(density)``."""
    body: Tensor
    """Voxels that may hold activity [batch, 1, z, y, x], bool."""

    def part(self, kept: slice) -> ScanContext:
        """What is told of some scans of the batch."""
        return ScanContext(self.density[kept], self.duration_s[kept], self.attenuation[kept], self.body[kept])


@runtime_checkable
class Reconstructor(Protocol):
    """Counts to activity maps."""

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        """Activity [batch, map, z, y, x] in Bq per voxel, 0 or more, from counts [batch, pixel, window].

        Differentiable in ``projections`` all the way, so that an attack sees true gradients.
        """


BODY_DENSITY_G_CM3 = 0.15
"""Denser than this is body: lungs (0.26) are, air is not."""


def scan_context(model: HyperspectralForwardModel, density: Tensor, duration_s: Tensor) -> ScanContext:
    """The context of scans of objects with this density [batch, z, y, x]."""
    return ScanContext(density, duration_s, model.attenuation(density), scan_body(density))


def scan_body(density: Tensor) -> Tensor:
    """Voxels that may hold activity [batch, 1, z, y, x], bool, by the density [batch, z, y, x]."""
    return (density > BODY_DENSITY_G_CM3)[:, None]


def body_mean(maps: Tensor, body: Tensor) -> Tensor:
    """Mean over the body of each map, [batch, map, 1, 1, 1]."""
    space = (2, 3, 4)
    return (maps * body).sum(space, keepdim=True) / body.sum(space, keepdim=True).clamp_min(1)


def nonzero(scale: Tensor) -> Tensor:
    """The scale, or 1 where it is 0: an empty map stays empty."""
    return torch.where(scale > 0, scale, 1.0)
