"""Generators: a physics image of the activity and the object's density to better activity maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hspi_learn.networks.padding import cropped, padded
from hspi_learn.networks.residual_unet import residual_unet


class Generator(Protocol):
    """What the reconstruction task calls.

    Each map is divided by its own mean over the body in the physics image; estimates are in that unit too.
    """

    def __call__(self, initial: Tensor, density: Tensor) -> Tensor:
        """Maps [batch, map, z, y, x], 0 or more, from such maps and density [batch, 1, z, y, x] in g/cm3."""


class CorrectionUNet(nn.Module):
    """A residual 3D U-Net (MONAI) that corrects the logarithm of the physics image.

        estimate = expm1( softplus( log1p(initial) + correction ) )

    In the logarithm a correction is a factor where activity is high and an addition where there is none, so
    that one weight scale serves tumours of fifty times the mean and voxels of almost nothing. The last layer
    starts at zero: the untrained generator returns the physics image, and few steps are enough to improve it.

    Args:
        maps: activity maps.
        channels: features of each resolution, finest first.
        strides: step between resolutions, one fewer than ``channels``; other grids are padded.
        residual_units: convolutions in each residual unit.
        most: highest estimate, in units of each map's mean in the physics image; keeps a wild first step
            finite.
        further_images: images of each map that it sees besides the one that it corrects.
        noise_channels: channels of noise that it sees, for estimates that are samples.

    Raises:
        UserError: ``strides`` and ``channels`` do not fit, or training it does not fit into memory.
    """

    def __init__(
        self,
        maps: int,
        channels: Sequence[int] = (16, 32, 64, 96),
        strides: Sequence[int] = (1, 2, 2),
        residual_units: int = 2,
        most: float = 1e4,
        further_images: int = 0,
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        self.multiple = math.prod(strides)
        self.highest = math.log1p(most)
        self.noise_channels = noise_channels
        inputs = maps * (1 + further_images) + 2 + noise_channels
        self.body = residual_unet("generator", inputs, channels, strides, residual_units)
        self.head = nn.Conv3d(channels[0], maps, kernel_size=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, initial: Tensor, density: Tensor, *further: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Better maps [batch, map, z, y, x] from the physics image and density [batch, 1, z, y, x] g/cm3.

        Args:
            initial: the image that is corrected, [batch, map, z, y, x].
            density: of the object.
            further: images of the same shape.
            noise: [batch, noise channel, z, y, x], normal; None: 0.
        """
        compressed = torch.log1p(initial)
        total = torch.log1p(initial.sum(dim=1, keepdim=True))
        images = (compressed, *(torch.log1p(image) for image in further))
        if noise is None:
            noise = density.new_zeros(len(density), self.noise_channels, *density.shape[2:])
        features = self.body(padded(torch.cat((*images, total, density, noise), dim=1), self.multiple))
        correction = self.head(functional.silu(cropped(features, initial.shape[2:])))
        return torch.expm1(functional.softplus(compressed + correction, beta=10.0).clamp_max(self.highest))
