"""A network for reconstruction: it multiplies the physics image by a correction."""

import torch
from torch import Tensor, nn


class ResidualNetwork(nn.Module):
    """Two convolutions; the task makes it for its number of activity maps, the config says the rest."""

    def __init__(self, maps: int, features: int = 8) -> None:
        super().__init__()
        self.hidden = nn.Conv3d(maps + 1, features, kernel_size=3, padding=1)
        self.last = nn.Conv3d(features, maps, kernel_size=1)
        nn.init.zeros_(self.last.weight)  # untrained, it returns the physics image as it is
        nn.init.zeros_(self.last.bias)

    def forward(self, initial: Tensor, density: Tensor) -> Tensor:
        """Better maps [batch, map, z, y, x], 0 or more, from the physics image and the density in g/cm3."""
        seen = torch.cat((torch.log1p(initial), density), dim=1)
        return initial * torch.exp(self.last(torch.relu(self.hidden(seen))).clamp(-5, 5))
