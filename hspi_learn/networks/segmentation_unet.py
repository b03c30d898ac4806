"""Segmentation networks: a physics image of the activity and the object's density to classes of voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hspi_learn.networks.padding import cropped, padded
from hspi_learn.networks.residual_unet import residual_unet


class Segmenter(Protocol):
    """What the segmentation task calls."""

    def __call__(self, initial: Tensor, density: Tensor) -> Tensor:
        """Logits [batch, class, z, y, x] from a physics image [batch, map, z, y, x], each map divided by its
        mean over the body, and density [batch, 1, z, y, x] in g/cm3.
        """


class SegmentationUNet(nn.Module):
    """MONAI's residual 3D U-Net (Kerfoot et al., STACOM 2018) on the logarithm of the physics image.

    Args:
        maps: activity maps.
        classes: classes of voxels, the background included.
        channels: features of each resolution, finest first.
        strides: step between resolutions, one fewer than ``channels``; other grids are padded.
        residual_units: convolutions in each residual unit.
        dropout: share of features that are dropped in training.

    Raises:
        UserError: ``strides`` and ``channels`` do not fit, ``dropout`` is no share, or training it does not
            fit into memory.
    """

    def __init__(
        self,
        maps: int,
        classes: int,
        channels: Sequence[int] = (16, 32, 64, 96),
        strides: Sequence[int] = (1, 2, 2),
        residual_units: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.multiple = math.prod(strides)
        self.body = residual_unet("network", maps + 2, channels, strides, residual_units, dropout)
        self.head = nn.Conv3d(channels[0], classes, kernel_size=1)

    def forward(self, initial: Tensor, density: Tensor) -> Tensor:
        """See :class:`Segmenter`."""
        total = torch.log1p(initial.sum(dim=1, keepdim=True))
        seen = torch.cat((torch.log1p(initial), total, density), dim=1)
        features = cropped(self.body(padded(seen, self.multiple)), initial.shape[2:])
        logits: Tensor = self.head(functional.silu(features))
        return logits
