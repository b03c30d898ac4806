"""Scans of mirror images of the same bodies, for training: panels and volumes mirrored together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hspi_learn.data import MIRROR_AXES
from hspi_learn.reconstructor import ScanBatch


def mirrored(scans: ScanBatch, axis: str, pixels: Tensor, chosen: Tensor) -> ScanBatch:
    """Some scans of a batch as scans of the mirror images of their bodies.

    Args:
        scans: on a grid that is centred on the isocentre, as ours are.
        axis: x, y or z.
        pixels: see :func:`~hspi_learn.data.mirrored_pixels`.
        chosen: scans that are mirrored [batch], bool.
    """

    dimension = -1 - MIRROR_AXES.index(axis)

    def some(usual: Tensor, mirror: Callable[[Tensor], Tensor]) -> Tensor:
        where = chosen.to(usual.device)
        return usual.index_put((where,), mirror(usual[where]))

    return scans._replace(
        projections=some(scans.projections, lambda counts: counts[:, pixels.to(counts.device)]),
        density=some(scans.density, lambda volume: volume.flip(dimension)),
        activity=some(scans.activity, lambda volume: volume.flip(dimension)),
        labels=some(scans.labels, lambda volume: volume.flip(dimension)),
    )
