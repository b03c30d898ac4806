"""Groups of pixel blocks behind the same aperture or apertures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data_gen.camera import Camera


class Channels(nn.Module):
    """Pixel blocks grouped into channels with about the same direction from each voxel: behind one aperture
    where there are septa, behind all apertures of a panel otherwise.

    Args:
        block: block of the camera, [channel, block of channel].
        aim_mm: point that photons for a channel travel to, [channel, 3]: the mean of its apertures' centres.
    """

    def __init__(self, block: Tensor, aim_mm: Tensor) -> None:
        super().__init__()
        self.block = nn.Buffer(block, persistent=False)
        self.aim_mm = nn.Buffer(aim_mm, persistent=False)

    block: Tensor
    aim_mm: Tensor

    @classmethod
    def of(cls, camera: Camera) -> Channels:
        """The channels of a camera."""
        pixel, aperture = camera.pairs.unbind(dim=1)
        highest = torch.full((camera.pixel_count,), camera.aperture_count)
        first = highest.scatter_reduce(0, pixel, aperture, "amin")
        names, channel = torch.unique(first, return_inverse=True)
        block = channel.argsort(stable=True).reshape(len(names), -1)
        centre = camera.aperture_centre_mm.detach()[aperture]
        total = torch.zeros(len(names), 3, dtype=torch.float64).index_add_(0, channel[pixel], centre)
        return cls(block, total / torch.bincount(channel[pixel])[:, None])

    def by_block(self, by_channel: Tensor) -> Tensor:
        """Values [channel, block of channel, ...] in the order of the camera's blocks, [block, ...]."""
        flat = by_channel.flatten(0, 1)
        return torch.zeros_like(flat).index_copy(0, self.block.flatten(), flat)
