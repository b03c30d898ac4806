"""The critic of SegAN: features at several scales of an image that a segmentation has masked."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.networks.discriminator import MOST_LAYERS
from hspi_learn.networks.memory import built


class MultiScaleCritic(nn.Module):
    """Features of a masked image, from its voxels up to the coarsest of several strided convolutions.

    Source: Xue et al., Neuroinformatics 16 (2018) 383, arXiv:1706.01805. As there, the image is multiplied by
    the mask of each class and the masked images are shown side by side, and the voxels themselves are the
    first scale. Unlike there, the mask of each class is shown beside them, since organs that hold no
    activity would leave no trace in the image, and layers are not normalised, since a small tumour in an
    empty image would become as large as a liver.

    Args:
        maps: activity maps.
        classes: classes of voxels, the background included.
        channels: features of the first layer; doubled by each further one.
        layers: convolutions with a stride of 2.

    Raises:
        UserError: too many layers, or training it does not fit into memory.
    """

    def __init__(self, maps: int, classes: int, channels: int = 16, layers: int = 3) -> None:
        super().__init__()
        if not 1 <= layers <= MOST_LAYERS:
            raise UserError(f"critic.layers is {layers}; it needs 1 to {MOST_LAYERS}")
        sizes = [(maps + 2) * classes, *(channels * 2**layer for layer in range(layers))]

        def make() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Conv3d(a, b, kernel_size=3, stride=2, padding=1) for a, b in itertools.pairwise(sizes)
            )

        self.layers = built(make, "critic.channels", [channels])

    def forward(self, mask: Tensor, initial: Tensor, density: Tensor) -> list[Tensor]:
        """Features [batch, feature, ...] of each scale, finest first.

        Args:
            mask: probability or membership of each class [batch, class, z, y, x].
            initial: physics image [batch, map, z, y, x], each map divided by its mean over the body.
            density: [batch, 1, z, y, x] in g/cm3.
        """
        image = torch.cat((torch.log1p(initial), density, torch.ones_like(density)), dim=1)
        seen = (mask[:, :, None] * image[:, None]).flatten(1, 2)
        scales = [seen]
        for layer in self.layers:
            scales.append(functional.leaky_relu(layer(scales[-1]), 0.2))
        return scales
