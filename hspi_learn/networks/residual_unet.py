"""MONAI's residual U-Net, after its settings and the memory that training it needs were checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch import nn

from data_gen.core.errors import UserError
from hspi_learn.networks.memory import built

MOST_LAYERS = 32
"""Most resolutions of a network, and most convolutions in a residual unit; chosen, no source."""


def residual_unet(
    key: str,
    inputs: int,
    channels: Sequence[int],
    strides: Sequence[int],
    residual_units: int,
    dropout: float = 0.0,
    dimensions: int = 3,
) -> nn.Module:
    """A residual U-Net (Kerfoot et al., STACOM 2018) with group norm, from images to features.

    It takes grids whose sizes are multiples of the product of the strides.

    Args:
        key: what its settings stand under in the config.
        inputs: channels that it gets.
        channels: features of each resolution, finest first; it gives as many as the finest.
        strides: step between resolutions, one fewer than ``channels``.
        residual_units: convolutions in each residual unit.
        dropout: share of features that are dropped in training.
        dimensions: 2 or 3.

    Raises:
        UserError: ``strides`` and ``channels`` do not fit, ``dropout`` is no share, or training it does not
            fit into memory.
    """
    if len(strides) != len(channels) - 1 or any(s < 1 for s in strides):
        raise UserError(
            f"{key}.strides is {list(strides)}; {len(channels)} channels need "
            f"{len(channels) - 1} strides of 1 or more"
        )
    if not 0 <= residual_units <= MOST_LAYERS or len(channels) > MOST_LAYERS:
        raise UserError(
            f"{key}.residual_units is {residual_units} at {len(channels)} resolutions; "
            f"it needs {MOST_LAYERS} at most of each"
        )
    if not 0 <= dropout < 1:
        raise UserError(f"{key}.dropout is {dropout}; it needs to be 0 or more and below 1")
    from monai.networks.nets.unet import UNet  # seconds to import, so only where a network is built

    body = partial(
        UNet,
        spatial_dims=dimensions,
        in_channels=inputs,
        out_channels=channels[0],
        channels=tuple(channels),
        strides=tuple(strides),
        num_res_units=residual_units,
        norm=("GROUP", {"num_groups": math.gcd(4, *channels)}),
        dropout=dropout,
    )
    return built(body, f"{key}.channels", channels)
