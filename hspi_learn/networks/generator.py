"""Generators: a physics image of the activity and the object's density to better activity maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.networks.memory import built
from hspi_learn.networks.padding import cropped, padded

MOST_LAYERS = 32
"""Most resolutions of a network, and most convolutions in a residual unit; chosen, no source."""


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
    ) -> None:
        super().__init__()
        if len(strides) != len(channels) - 1 or any(s < 1 for s in strides):
            raise UserError(
                f"generator.strides is {list(strides)}; {len(channels)} channels need "
                f"{len(channels) - 1} strides of 1 or more"
            )
        if not 0 <= residual_units <= MOST_LAYERS or len(channels) > MOST_LAYERS:
            raise UserError(
                f"generator.residual_units is {residual_units} at {len(channels)} resolutions; "
                f"it needs {MOST_LAYERS} at most of each"
            )
        from monai.networks.nets.unet import UNet  # seconds to import, so only where a network is built

        self.multiple = math.prod(strides)
        self.highest = math.log1p(most)
        body = partial(
            UNet,
            spatial_dims=3,
            in_channels=maps + 2,
            out_channels=channels[0],
            channels=tuple(channels),
            strides=tuple(strides),
            num_res_units=residual_units,
            norm=("GROUP", {"num_groups": math.gcd(4, *channels)}),
        )
        self.body = built(body, "generator.channels", channels)
        self.head = nn.Conv3d(channels[0], maps, kernel_size=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, initial: Tensor, density: Tensor) -> Tensor:
        """Better maps [batch, map, z, y, x] from the physics image and density [batch, 1, z, y, x] g/cm3."""
        compressed = torch.log1p(initial)
        total = torch.log1p(initial.sum(dim=1, keepdim=True))
        features = self.body(padded(torch.cat((compressed, total, density), dim=1), self.multiple))
        correction = self.head(functional.silu(cropped(features, initial.shape[2:])))
        return torch.expm1(functional.softplus(compressed + correction, beta=10.0).clamp_max(self.highest))
