"""A small network that tells features of activity maps, learned from truths alone."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LEARNING_RATE = 2e-3


class TextureFeatures(nn.Module):
    """A 3D convolutional encoder whose last features are what two samples of images are compared by.

    It learns to tell from a true activity what it is told of it (``targets``): to do so it has to see organs,
    tumours and their edges. It sees logarithms of maps that are each divided by their mean over the body.

    Args:
        maps: activity maps.
        targets: numbers that it learns to tell of each scan.
        features: of the last layer, averaged over the volume.
        channels: features of the layers before it, each of half the resolution of the one before.
    """

    def __init__(
        self, maps: int, targets: int, features: int = 16, channels: tuple[int, ...] = (16, 32)
    ) -> None:
        super().__init__()
        sizes = (maps, *channels, features)
        self.layers = nn.ModuleList(
            nn.Conv3d(a, b, kernel_size=3, stride=2, padding=1) for a, b in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, size) for size in channels)
        self.head = nn.Linear(features, targets)

    def features(self, activity: Tensor, body: Tensor) -> Tensor:
        """Features [batch, feature] of an activity [batch, map, z, y, x], in any unit.

        Args:
            activity: 0 or more.
            body: [batch, 1, z, y, x], bool; what lies outside is not seen.
        """
        inside = activity * body
        voxels = body.sum(dim=(2, 3, 4), keepdim=True).clamp_min(1)
        mean = inside.sum(dim=(2, 3, 4), keepdim=True) / voxels
        seen = torch.log1p(inside / mean.clamp_min(torch.finfo(mean.dtype).tiny))
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            seen = functional.silu(norm(layer(seen)))
        found: Tensor = self.layers[-1](seen).mean(dim=(2, 3, 4))
        return found

    def forward(self, activity: Tensor, body: Tensor) -> Tensor:
        """The targets [batch, target] that it tells."""
        told: Tensor = self.head(functional.silu(self.features(activity, body)))
        return told


def trained_features(
    activity: Tensor, body: Tensor, targets: Tensor, steps: int, batch_size: int = 16, seed: int = 0
) -> TextureFeatures:
    """A network trained on truths by Adam and the squared error of standardised targets.

    The global random generator is left as it was.

    Args:
        activity: truths [sample, map, z, y, x], in any unit.
        body: [sample, 1, z, y, x], bool.
        targets: what it learns to tell of each [sample, target]; NaN is not told.
        steps: updates.
        batch_size: samples of each.
        seed: of weights and batches.
    """
    known = torch.isfinite(targets)
    mean = targets.nanmean(dim=0)
    spread = (targets - mean).square().nanmean(dim=0).sqrt()
    wanted = ((targets - mean) / spread.clamp_min(1e-6)).nan_to_num(nan=0.0)
    chance = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = TextureFeatures(activity.shape[1], targets.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            some = torch.randint(len(activity), (batch_size,), generator=chance)
            told = network(activity[some], body[some])
            loss = ((told - wanted[some]).square() * known[some]).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)
