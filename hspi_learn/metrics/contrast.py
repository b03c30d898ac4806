"""Contrast to noise of lesions: (mean in the lesion - mean around it) / SD around it, dimensionless."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from hspi_learn.metrics.reduction import reduce_scans


def contrast_to_noise(activity: Tensor, lesion: Tensor, background: Tensor) -> Tensor:
    """(mean in the lesion - mean in the background) / SD over background voxels, per scan and map.

    The SD holds noise and what structure the background has, so it says how well a reader could tell the
    lesion from its surroundings in this one image.

    Args:
        activity: [batch, map, z, y, x], in any unit.
        lesion: [batch, 1, z, y, x], bool.
        background: [batch, 1, z, y, x], bool.

    Returns:
        [batch, map]; minus infinity where the estimate is NaN or infinite in either, since it failed; NaN
        without a lesion, without two background voxels, or where the background is flat.
    """
    inside, _, found = _moments(activity, lesion)
    outside, sd, around = _moments(activity, background)
    there = (found >= 1) & (around >= 2)
    valid = there & (sd > 0)
    ratio = torch.where(valid, (inside - outside) / torch.where(valid, sd, 1.0), torch.nan)
    return torch.where(there & ~torch.isfinite(inside + outside + sd), -torch.inf, ratio)


def surroundings(lesion: Tensor, allowed: Tensor, inner_voxels: int = 1, outer_voxels: int = 4) -> Tensor:
    """A shell around the lesion: more than ``inner_voxels`` and at most ``outer_voxels`` steps away.

    The gap keeps the blur of the lesion out of its own background.

    Args:
        lesion: [batch, 1, z, y, x], bool.
        allowed: voxels that may be background [batch, 1, z, y, x], bool.
        inner_voxels: width of the gap in voxels; the default is chosen, no source.
        outer_voxels: outer edge of the shell in voxels; the default is chosen, no source.
    """
    near, far = (grown(lesion, steps) for steps in (inner_voxels, outer_voxels))
    return far & ~near & allowed


def grown(mask: Tensor, steps: int) -> Tensor:
    """A mask [batch, 1, z, y, x] and all that is at most ``steps`` voxels away along every axis."""
    near = torch.nn.functional.max_pool3d(mask.float(), 2 * steps + 1, stride=1, padding=steps)
    return near > 0


class ContrastToNoise(Metric):
    """Median over scans of :func:`contrast_to_noise` of each map, [map]."""

    higher_is_better = True
    full_state_update = False
    scans: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scans", default=[], dist_reduce_fx="cat")

    def update(self, activity: Tensor, lesion: Tensor, background: Tensor) -> None:
        """Add a batch; shapes as in :func:`contrast_to_noise`."""
        self.scans.append(contrast_to_noise(activity.detach(), lesion, background))

    def compute(self) -> Tensor:
        """NaN for a map whose lesions never had a ratio."""
        joined = torch.cat(self.scans) if isinstance(self.scans, list) else self.scans
        return reduce_scans(joined, "median")


def _moments(activity: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, sample SD and number of voxels under a mask, each [batch, map]."""
    weight = mask.expand_as(activity).to(activity.dtype)
    voxels = weight.flatten(2).sum(2)
    inside = torch.where(mask, activity, 0.0)
    mean = inside.flatten(2).sum(2) / voxels.clamp_min(1)
    squares = ((inside - mean[..., None, None, None]) ** 2 * weight).flatten(2).sum(2)
    return mean, (squares / (voxels - 1).clamp_min(1)).sqrt(), voxels
