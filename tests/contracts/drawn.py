"""Activity and density that contracts of linear terms are held with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(kw_only=True)
class Drawn:
    """Shape of activity, [batch, map, z, y, x], and what is drawn for it."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def activity(self, seed: int = 0) -> Tensor:
        """Signed, so that cancellation is tested too."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(seed), dtype=self.dtype)

    def density(self) -> Tensor:
        """Soft tissue with some air and bone, away from the limits between tissues; each scan another."""
        shape = (self.shape[0], *self.shape[2:])
        draw = torch.rand(shape, generator=torch.Generator().manual_seed(9), dtype=self.dtype)
        density = 0.9 + 0.2 * draw
        density[:, 0], density[:, -1] = 0.01, 1.8
        return density
