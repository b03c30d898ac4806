"""Denoisers of projections: counts on all panels of a camera to what is expected there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hspi_learn.networks.padding import cropped, padded
from hspi_learn.networks.residual_unet import residual_unet

LEAST = 0.02
"""Share of a window's mean below which no expectation starts, since a factor cannot raise 0; chosen."""

LARGEST_EXPONENT = 8.0
"""A correction is a factor within exp(-8) and exp(8), which keeps a wild first step finite."""


class ProjectionDenoiser(Protocol):
    """What the denoising task calls."""

    def __call__(self, counts: Tensor, first: Tensor, live: Tensor) -> Tensor:
        """Expected counts [batch, panel, window, row, column], 0 or more, of counts of the same shape.

        Args:
            counts: 0 in dead pixels.
            first: a linear estimate of the expected counts, of the same shape, 0 or more.
            live: pixels that record, [panel, row, column], 0 or 1.
        """


class ProjectionUNet(nn.Module):
    """MONAI's residual 2D U-Net (Kerfoot et al., STACOM 2018) that corrects a first estimate by a factor.

        expected = first exp(correction)

    Panels and windows are channels: rows of all panels lie at the same height of the object, so that each
    panel is denoised with the help of all others, as in a sinogram. Counts are seen as residuals of their
    Anscombe transform, 2 sqrt(n + 3/8) - 2 sqrt(first + 3/8), whose noise has a variance of about 1 where
    counts are not few (Anscombe, Biometrika 35 (1948) 246); the first estimate as the logarithm relative to
    its window's mean; and the logarithm of the mean count tells how noisy the scan is. The last layer starts
    at zero: the untrained network returns the first estimate.

    Args:
        panels: panels of the camera.
        windows: energy windows.
        channels: features of each resolution, finest first.
        strides: step between resolutions, one fewer than ``channels``; other panels are padded.
        residual_units: convolutions in each residual unit.

    Raises:
        UserError: ``strides`` and ``channels`` do not fit, or training it does not fit into memory.
    """

    def __init__(
        self,
        panels: int,
        windows: int,
        channels: Sequence[int] = (48, 64, 96),
        strides: Sequence[int] = (2, 2),
        residual_units: int = 1,
    ) -> None:
        super().__init__()
        self.multiple = math.prod(strides)
        inputs = 2 * panels * windows + 1
        self.body = residual_unet("network", inputs, channels, strides, residual_units, dimensions=2)
        self.head = nn.Conv2d(channels[0], panels * windows, kernel_size=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, counts: Tensor, first: Tensor, live: Tensor) -> Tensor:
        """See :class:`ProjectionDenoiser`."""
        live = live.to(counts)[:, None]
        pixels, tiny = live.sum().clamp_min(1), torch.finfo(counts.dtype).tiny
        of_window = first.sum((1, 3, 4), keepdim=True) / pixels
        first = live * torch.maximum(first, LEAST * of_window)
        seen = (
            live * 2 * ((counts + 3 / 8).sqrt() - (first + 3 / 8).sqrt()),
            torch.log(first / of_window.clamp_min(tiny) + LEAST),
        )
        level = torch.log(counts.sum((1, 2, 3, 4)) / pixels + 1e-6)[:, None, None, None]
        channels = [part.flatten(1, 2) for part in seen]
        channels.append(level.expand_as(channels[0][:, :1]))
        features = self.body(padded(torch.cat(channels, dim=1), self.multiple))
        correction = self.head(functional.silu(cropped(features, counts.shape[3:])))
        bounded = correction.reshape(counts.shape).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
        return first * torch.exp(bounded)
