"""Discriminators: do these maps look like the truth behind that physics image?"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.networks.memory import built

MOST_LAYERS = 6
"""Most strided layers: more see hundreds of voxels, and smaller grids are padded to that; chosen."""


class PatchDiscriminator(nn.Module):
    """A 3D patch discriminator (MONAI) conditioned on the physics image and the density.

    It sees logarithms, so that one hot organ does not hide the rest, and judges overlapping patches.

    Args:
        maps: activity maps.
        channels: features of the first layer; doubled by each further one.
        layers: strided layers; two see patches of 22 voxels.

    Raises:
        UserError: too many layers, or training it does not fit into memory.
    """

    def __init__(self, maps: int, channels: int = 16, layers: int = 2) -> None:
        super().__init__()
        if not 1 <= layers <= MOST_LAYERS:
            raise UserError(f"discriminator.layers is {layers}; it needs 1 to {MOST_LAYERS}")
        from monai.networks.nets import patchgan_discriminator  # seconds to import

        # The smallest edge that leaves a patch after the strided layers; smaller grids are padded.
        self.smallest = 2 ** (layers + 2)
        body = partial(
            patchgan_discriminator.PatchDiscriminator,
            spatial_dims=3,
            channels=channels,
            in_channels=2 * maps + 1,
            num_layers_d=layers,
            norm=("GROUP", {"num_groups": math.gcd(4, channels)}),
        )
        self.body = built(body, "discriminator.channels", [channels])

    def forward(self, estimate: Tensor, initial: Tensor, density: Tensor) -> Tensor:
        """Scores [batch, 1, ...] of maps [batch, map, z, y, x] beside the physics image of the same shape."""
        seen = torch.cat((torch.log1p(estimate), torch.log1p(initial), density), dim=1)
        missing = [max(0, self.smallest - n) for n in reversed(seen.shape[2:])]
        scores: Tensor = self.body(functional.pad(seen, [pad for n in missing for pad in (0, n)]))[-1]
        return scores
