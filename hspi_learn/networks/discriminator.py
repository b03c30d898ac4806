"""Discriminators: do these maps look like the truth behind that physics image?"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from data_gen.core.errors import UserError
from hspi_learn.networks.memory import built

MOST_LAYERS = 6
"""Most strided layers: more see hundreds of voxels, and smaller grids are padded to that; chosen."""

MOST_SCALES = 3
"""Most scales of a discriminator; chosen."""


class PatchDiscriminator(nn.Module):
    """A patch discriminator (MONAI) conditioned on the physics image and the density.

    It sees logarithms, so that one hot organ does not hide the rest, and judges overlapping patches.

    Args:
        maps: activity maps, or other channels of the image that is judged.
        channels: features of the first layer; doubled by each further one.
        layers: strided layers; two see patches of 22 voxels.
        spatial_dims: 3 for volumes, 2 for panels.
        others: channels of the conditions beside the first one, which has as many as the image.

    Raises:
        UserError: too many layers, images of another dimension, or training it does not fit into memory.
    """

    def __init__(
        self, maps: int, channels: int = 16, layers: int = 2, spatial_dims: int = 3, others: int = 1
    ) -> None:
        super().__init__()
        _check_layers(layers, spatial_dims, others)
        from monai.networks.nets import patchgan_discriminator  # seconds to import

        # The smallest edge that leaves a patch after the strided layers; smaller grids are padded.
        self.smallest = 2 ** (layers + 2)
        body = partial(
            patchgan_discriminator.PatchDiscriminator,
            spatial_dims=spatial_dims,
            channels=channels,
            in_channels=2 * maps + others,
            num_layers_d=layers,
            norm=("GROUP", {"num_groups": math.gcd(4, channels)}),
        )
        self.body = built(body, "discriminator.channels", [channels])

    def forward(self, estimate: Tensor, initial: Tensor, *others: Tensor) -> Tensor:
        """Scores [batch, 1, ...] of an image, 0 or more, beside another one and further conditions.

        Args:
            estimate: the image that is judged [batch, map, z, y, x], or [batch, channel, y, x] of panels.
            initial: the image that it was made from, of the same shape and unit.
            others: what else it is shown beside, such as the density [batch, 1, z, y, x] in g/cm3.
        """
        return self.scores_and_features(estimate, initial, *others)[0][0]

    def scores_and_features(
        self, estimate: Tensor, initial: Tensor, *others: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The same scores as a list of one, and the features of each layer before them."""
        *features, scores = self.body(_shown(estimate, initial, others, self.smallest))
        return [scores], features


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators (MONAI) of growing patches, their slopes bounded by spectral normalisation.

    Each has its own score; the adversary takes the mean of their losses. Sources: Wang et al., CVPR 2018
    (pix2pixHD), and Miyato et al., ICLR 2018, arXiv:1802.05957, for the layers' spectral norm of 1, which
    stands in the place of other normalisation.

    Args:
        maps: see :class:`PatchDiscriminator`.
        channels: features of the first layer of each scale; doubled by each further one.
        layers: strided layers of the finest scale; each further scale has so many more.
        scales: discriminators.
        spatial_dims: see :class:`PatchDiscriminator`.
        others: see :class:`PatchDiscriminator`.

    Raises:
        UserError: too many layers or scales, or training it does not fit into memory.
    """

    def __init__(
        self,
        maps: int,
        channels: int = 16,
        layers: int = 1,
        scales: int = 2,
        spatial_dims: int = 3,
        others: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= scales <= MOST_SCALES:
            raise UserError(f"discriminator.scales is {scales}; it needs 1 to {MOST_SCALES}")
        _check_layers(layers * scales, spatial_dims, others)
        from monai.networks.nets import patchgan_discriminator  # seconds to import

        self.smallest = 2 ** (layers * scales + 2)
        unnormalised: Any = None  # MONAI takes it, though its annotations do not say so
        body = partial(
            patchgan_discriminator.MultiScalePatchDiscriminator,
            num_d=scales,
            num_layers_d=layers,
            spatial_dims=spatial_dims,
            channels=channels,
            in_channels=2 * maps + others,
            norm=unnormalised,
            minimum_size_im=self.smallest,
        )
        self.body = built(body, "discriminator.channels", [channels])
        for module in self.body.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                parametrizations.spectral_norm(module)

    def forward(self, estimate: Tensor, initial: Tensor, *others: Tensor) -> list[Tensor]:
        """Scores [batch, 1, ...] of each scale, see :meth:`PatchDiscriminator.forward`."""
        return self.scores_and_features(estimate, initial, *others)[0]

    def scores_and_features(
        self, estimate: Tensor, initial: Tensor, *others: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The same scores, and the features of each layer of each scale."""
        scores, features = self.body(_shown(estimate, initial, others, self.smallest))
        return scores, [layer for scale in features for layer in scale]


def _check_layers(layers: int, spatial_dims: int, others: int) -> None:
    """Refuse settings that mean nothing."""
    if not 1 <= layers <= MOST_LAYERS:
        raise UserError(f"discriminator.layers is {layers}; it needs 1 to {MOST_LAYERS}")
    if spatial_dims not in (2, 3):
        raise UserError(f"discriminator.spatial_dims is {spatial_dims}; it needs to be 2 or 3")
    if others < 0:
        raise UserError(f"discriminator.others is {others}; it needs to be 0 or more")


def _shown(estimate: Tensor, initial: Tensor, others: tuple[Tensor, ...], smallest: int) -> Tensor:
    """What a discriminator sees, with zeros after the end of axes that are shorter than ``smallest``."""
    seen = torch.cat((torch.log1p(estimate), torch.log1p(initial), *others), dim=1)
    missing = [max(0, smallest - n) for n in reversed(seen.shape[2:])]
    return functional.pad(seen, [pad for n in missing for pad in (0, n)])
