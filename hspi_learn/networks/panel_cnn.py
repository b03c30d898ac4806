"""Classifiers of scans from panel images: a convolutional network, and a linear one as its baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_gen.core.errors import UserError
from hspi_learn.networks.memory import built

MOST_LAYERS = 6
"""Most layers: each halves the images at first, and panels have tens of pixels; chosen."""


class ScanClassifier(Protocol):
    """What the classification task calls."""

    def __call__(self, images: Tensor, level: Tensor) -> Tensor:
        """Logits [batch, class] from panel images [batch, panel, image, row, column] of mean 0, the first of
        all windows together, the others of each, and the natural logarithm of a scan's counts plus 1 [batch].
        """


class PanelCnn(nn.Module):
    """One small 2D network (MONAI's convolutions) for all panels, whose features are pooled over pixels, then
    panels.

    Images of windows are mixed into few channels first. Mean and maximum over each image, and again over
    panels, make the features, so that neither place nor number of panels is fixed: a class is what is seen
    anywhere.

    Args:
        panels: panels of the camera; any number will do.
        images: images of each panel: that of all windows together, and others.
        classes: classes of scans.
        spectral: channels that the images are mixed into, where there are several.
        channels: features of each layer; each but the last halves the image.
        hidden: features of a panel, and of a scan.
        dropout: share of features that are dropped in training.

    Raises:
        UserError: too many layers, ``dropout`` is no share, or training it does not fit into memory.
    """

    def __init__(
        self,
        panels: int,  # noqa: ARG002 (what every classifier of panel images is told)
        images: int,
        classes: int,
        spectral: int = 8,
        channels: Sequence[int] = (16, 32, 64, 64),
        hidden: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 1 <= len(channels) <= MOST_LAYERS:
            raise UserError(f"network.channels is {list(channels)}; it needs 1 to {MOST_LAYERS} layers")
        _check_share(dropout)
        mixed = spectral if images > 1 else 0
        self.spectral = built(
            lambda: nn.Conv2d(images, spectral, kernel_size=1) if mixed else nn.Identity(),
            "network.spectral",
            [spectral],
        )
        self.body = built(lambda: _layers(1 + mixed, channels), "network.channels", channels)
        self.of_panel = built(
            lambda: nn.Sequential(nn.Linear(2 * channels[-1], hidden), nn.SiLU()), "network.hidden", [hidden]
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * hidden + 1, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        """See :class:`ScanClassifier`."""
        batch, panels = images.shape[:2]
        flat = images.flatten(0, 1)
        seen = flat if flat.shape[1] == 1 else torch.cat((flat[:, :1], self.spectral(flat)), dim=1)
        features = self.body(seen).flatten(2)
        of_panels = self.of_panel(_mean_and_maximum(features)).reshape(batch, panels, -1).transpose(1, 2)
        logits: Tensor = self.head(torch.cat((_mean_and_maximum(of_panels), level[:, None] / 10), dim=1))
        return logits


class PanelLinear(nn.Module):
    """Multinomial logistic regression on panel images of all windows together, averaged over tiles of pixels.

    Args:
        panels: panels of the camera.
        images: images of each panel, of which the first is looked at.
        classes: classes of scans.
        tiles: tiles along each edge of a panel; 1 looks at its sum alone.

    Raises:
        UserError: there is no tile, or more than memory can hold.
    """

    def __init__(self, panels: int, images: int, classes: int, tiles: int = 10) -> None:  # noqa: ARG002
        super().__init__()
        self.tiles = tiles
        self.linear = built(lambda: nn.Linear(panels * tiles**2 + 1, classes), "network.tiles", [tiles])

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        """See :class:`ScanClassifier`."""
        tiles = functional.adaptive_avg_pool2d(images[:, :, 0], self.tiles).flatten(1)
        logits: Tensor = self.linear(torch.cat((tiles, level[:, None] / 10), dim=1))
        return logits


def _layers(images: int, channels: Sequence[int]) -> nn.Module:
    """Convolutions, each with normalised features and a SiLU; all but the last halve the image."""
    from monai.networks.blocks.convolutions import Convolution  # seconds to import

    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip((images, *channels[:-1]), channels, strict=True)):
        layers.append(
            Convolution(
                spatial_dims=2,
                in_channels=before,
                out_channels=after,
                strides=1 if number and number == len(channels) - 1 else 2,
                kernel_size=3 if number else 5,
                act="SWISH",
                norm=("GROUP", {"num_groups": math.gcd(8, after)}),
            )
        )
    return nn.Sequential(*layers)


def _mean_and_maximum(features: Tensor) -> Tensor:
    """Mean and maximum over the last dimension: [batch, feature, n] to [batch, 2 feature]."""
    return torch.cat((features.mean(dim=2), features.amax(dim=2)), dim=1)


def _check_share(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise UserError(f"network.dropout is {dropout}; it needs to be 0 or more and below 1")
