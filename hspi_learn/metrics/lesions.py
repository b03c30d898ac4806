"""Lesions one by one: which voxels are one, how well they stand out (AUC), and false lesions in a scan.

Activities may be in any unit; where scans are pooled, each is divided by its mean over the body first.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

MOST_PEAKS = 100
"""Peaks that are kept of a scan, the hottest: more false lesions than that no one would look through."""

FOUND_SHARE = 0.8
"""Share of the lesions that the threshold finds at which false ones are counted; chosen, no source."""

_AROUND = np.ones((3, 3, 3), dtype=bool)
_AROUND[1, 1, 1] = False


def separate_lesions(lesion: Tensor) -> Tensor:
    """Numbers of lesions by voxel: 1, 2, ... for voxels that touch, also at corners, and 0 outside.

    Args:
        lesion: voxels of any lesion [batch, 1, z, y, x], bool.

    Returns:
        [batch, z, y, x], int64.
    """
    found = [ndimage.label(scan[0].numpy(), np.ones((3, 3, 3)))[0] for scan in lesion.cpu()]
    return torch.from_numpy(np.stack(found)).long().to(lesion.device)


def regions_with_single_lesions(labels: Tensor, lesion: Tensor, organs: int) -> Tensor:
    """Numbers of regions by voxel: an organ's label, or ``organs``, ``organs + 1``, ... for single lesions.

    Args:
        labels: organ of each voxel, [batch, z, y, x] int64.
        lesion: voxels of any lesion [batch, 1, z, y, x], bool.
        organs: number of labels, that of no lesion included.

    Returns:
        [batch, z, y, x], int64.
    """
    lesions = separate_lesions(lesion)
    return torch.where(lesions > 0, organs - 1 + lesions, labels)


def voxel_auc(activity: Tensor, lesion: Tensor, background: Tensor) -> Tensor:
    """Chance that a voxel of a lesion is hotter than one of the background, where a tie counts half.

    The area under the ROC curve of a threshold on voxels; 0.5 is what guessing gives. Source: Hanley and
    McNeil, Radiology 143 (1982) 29.

    Args:
        activity: [batch, map, z, y, x].
        lesion: [batch, 1 or map, z, y, x], bool.
        background: [batch, 1 or map, z, y, x], bool.

    Returns:
        [batch, map]; NaN without a voxel of either kind, minus infinity where an activity is no number.
    """
    masks = (lesion.expand(activity.shape), background.expand(activity.shape))
    found = torch.full(activity.shape[:2], torch.nan)
    for place in np.ndindex(*found.shape):
        hot, cold = (activity[place][mask[place]].cpu() for mask in masks)
        if len(hot) and len(cold):
            found[place] = _auc(torch.cat((hot, cold)), len(hot))
    return found.to(activity.device)


def _auc(values: Tensor, first: int) -> float:
    """Chance that one of the ``first`` values exceeds one of the others: Mann and Whitney's U by pairs."""
    if not bool(torch.isfinite(values).all()):
        return -math.inf
    ranks = stats.rankdata(values.numpy())[:first]
    return float((ranks.sum() - first * (first + 1) / 2) / (first * (len(values) - first)))


def lesion_peaks(activity: Tensor, lesions: Tensor, mask: Tensor) -> Tensor:
    """Hottest voxel of each lesion, [batch, map, lesion]; NaN where a lesion has no voxel.

    Args:
        activity: [batch, map, z, y, x].
        lesions: numbers of lesions, see :func:`separate_lesions`.
        mask: voxels that count [batch, 1 or map, z, y, x], bool.
    """
    batch, maps = activity.shape[:2]
    count = int(lesions.max()) if lesions.numel() else 0
    values = torch.where(mask, activity, -torch.inf).reshape(batch, maps, -1)
    index = lesions.reshape(batch, 1, -1).expand(-1, maps, -1)
    lowest = activity.new_full((batch, maps, count + 1), -torch.inf)
    hottest = lowest.scatter_reduce(2, index, values, "amax")[..., 1:]
    return torch.where(torch.isneginf(hottest), torch.nan, hottest)


def background_peaks(activity: Tensor, background: Tensor, most: int = MOST_PEAKS) -> Tensor:
    """Voxels of the background that are hotter than all 26 around them: what looks like a lesion and is none.

    Spill-over from a hot organ falls off from the organ, so it makes no peak.

    Args:
        activity: [batch, map, z, y, x].
        background: where there is no lesion, [batch, 1 or map, z, y, x], bool.
        most: the hottest so many are kept.

    Returns:
        Activity at the peaks, falling, [batch, map, most]; NaN where there are fewer.
    """
    allowed = background.expand(activity.shape)
    found = activity.new_full((*activity.shape[:2], most), torch.nan)
    for place in np.ndindex(*activity.shape[:2]):
        image = activity[place].cpu().numpy()
        around = ndimage.maximum_filter(image, footprint=_AROUND, mode="constant", cval=-np.inf)
        peaks = activity[place][torch.from_numpy(image > around).to(activity.device) & allowed[place]]
        kept = peaks.sort(descending=True).values[:most]
        found[place][: len(kept)] = kept
    return found


def false_lesions(lesions: Tensor, peaks: Tensor, found_share: float = FOUND_SHARE) -> float:
    """False lesions in a scan at the threshold that finds so many of the true ones, over all scans.

    A point of the free-response ROC curve (Bunch et al., J. Appl. Photogr. Eng. 4 (1978) 166). The threshold
    is one for all scans, and each method has its own: what shrinks everything is not punished here.

    Args:
        lesions: hottest voxel of each lesion [scan, lesion], over the scan's mean; NaN for none.
        peaks: see :func:`background_peaks`, over the same mean [scan, peak].
        found_share: share of the lesions that are found.

    Returns:
        NaN without a lesion.
    """
    true = lesions[~torch.isnan(lesions)].sort(descending=True).values
    if not len(true):
        return math.nan
    threshold = true[math.ceil(found_share * len(true) - 1e-9) - 1]
    return float((peaks >= threshold).sum()) / len(peaks)
