"""Network inputs: activity maps divided by the body mean of the physics image, mirrored for augmentation.

Activities are in Bq per voxel before the division. The physics image is made in ``physics_input.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hspi_learn.reconstructor import ScanBatch, body_mean, nonzero, scan_body
from hspi_learn.tasks.physics_input import PhysicsInput

HARDLY_SEEN_WEIGHT = 0.1
"""Weight of body voxels below 10 % of the maximum sensitivity, which NRMSE leaves out but people look at;
chosen, no source.
"""


class Images(NamedTuple):
    """A batch as the networks get it.

    ``initial``, ``density``, ``body`` and ``truth`` are mirrored along ``axes``. Activities are divided by
    ``scale``, or not divided where it is 0.
    """

    initial: Tensor
    """Physics image / scale [batch, map, z, y, x]."""
    density: Tensor
    """[batch, 1, z, y, x] in g/cm3."""
    body: Tensor
    """Voxels that may hold activity [batch, 1, z, y, x], bool."""
    truth: Tensor
    """True activity / scale [batch, map, z, y, x]."""
    weight: Tensor
    """Weight of each voxel in the loss [batch, map, z, y, x]: 1 where NRMSE is scored, 0.1 in the rest of the
    body, 0 outside it.

    Not mirrored: losses compare activities in the scanner's own orientation.
    """
    scale: Tensor
    """Mean of the physics image over the body [batch, map, 1, 1, 1] in Bq per voxel."""
    axes: tuple[int, ...]
    """Dimensions along which images, density, truth and body are mirrored."""

    def activity(self, estimate: Tensor) -> Tensor:
        """An estimate of these images back in Bq per voxel and in the scanner's own orientation."""
        return estimate.flip(self.axes) * self.scale

    def divided(self, activity: Tensor) -> Tensor:
        """An activity in Bq per voxel, in the scanner's own orientation, as these images are."""
        return (activity / nonzero(self.scale)).flip(self.axes)


def images_of(batch: ScanBatch, inputs: PhysicsInput, axes: tuple[int, ...]) -> Images:
    """The images of a batch with the physics input of its scans."""
    body = body_of(batch)
    scale = body_mean(inputs.initial, body)
    return Images(
        initial=(inputs.initial / nonzero(scale)).flip(axes),
        density=batch.density[:, None].flip(axes),
        body=body.flip(axes),
        truth=(batch.activity / nonzero(scale)).flip(axes),
        weight=body * torch.where(inputs.mask, 1.0, HARDLY_SEEN_WEIGHT),
        scale=scale,
        axes=axes,
    )


def body_of(batch: ScanBatch) -> Tensor:
    """Voxels that may hold activity [batch, 1, z, y, x], bool."""
    return scan_body(batch.density)
