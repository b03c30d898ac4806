"""How good contours of organs and tumours are: Dice, surface distance, lesion by lesion, and uptake.

A contour is a mask of voxels. NaN says that a scan has no such figure, since the truth has none of the organ.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from hspi_learn.metrics.lesions import separate_lesions

Mask = NDArray[np.bool_]


def dice(predicted: Tensor, true: Tensor) -> Tensor:
    """2 |P and T| / (|P| + |T|) of each class, by MONAI.

    Args:
        predicted: masks [batch, class, z, y, x], bool.
        true: masks of the same shape.

    Returns:
        [batch, class]: 0 where the class is missed, NaN where the truth has none of it.
    """
    from monai.metrics.meandice import compute_dice  # seconds to import, so only where it is used

    found: Tensor = compute_dice(predicted.float(), true.float(), include_background=True, ignore_empty=True)
    return found


def surface_distance_mm(predicted: Tensor, true: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Average symmetric surface distance of each class in mm, by MONAI.

    The mean over both surfaces of the distance to the other one (Heimann et al., IEEE TMI 28 (2009) 1251);
    surfaces run through the outermost voxels.

    Args:
        predicted: masks [batch, class, z, y, x], bool.
        true: masks of the same shape.
        spacing_mm: voxel edges (z, y, x) in mm.

    Returns:
        [batch, class]: NaN where the truth has none of the class; the diagonal of the grid where it is
        missed, so that no method gains by finding nothing.
    """
    from monai.metrics.surface_distance import compute_average_surface_distance

    with warnings.catch_warnings():
        # Empty masks are told below; what it calls of its own that is deprecated is not ours.
        warnings.filterwarnings("ignore", module="monai")
        found: Tensor = compute_average_surface_distance(
            predicted.float(), true.float(), include_background=True, symmetric=True, spacing=list(spacing_mm)
        )
    diagonal = math.hypot(*(n * step for n, step in zip(true.shape[2:], spacing_mm, strict=True)))
    there, met = (mask.flatten(2).any(dim=2) for mask in (true, predicted))
    return torch.where(there, torch.where(met, found, diagonal), torch.nan)


def uptake_error(predicted: Tensor, true: Tensor, activity: Tensor) -> Tensor:
    """|A(P) - A(T)| / A(T), where A is the true activity inside of a contour: what the contour costs.

    Args:
        predicted: masks [batch, z, y, x], bool.
        true: masks of the same shape.
        activity: true activity [batch, map, z, y, x]; its maps are added.

    Returns:
        [batch]: 1 where nothing is contoured, NaN where the true contour holds no activity.
    """
    total = activity.sum(dim=1)
    inside, wanted = ((total * mask).flatten(1).sum(dim=1) for mask in (predicted, true))
    return torch.where(wanted > 0, (inside - wanted).abs() / wanted.clamp_min(1e-30), torch.nan)


class Lesion(NamedTuple):
    """How a true lesion is met by a prediction."""

    volume_mm3: float
    dice: float
    """0 where it is missed."""
    found: bool
    """Whether a voxel of it is predicted."""


class LesionMatch(NamedTuple):
    """The lesions of a scan, and what is predicted where there is none."""

    lesions: list[Lesion]
    false: int
    """Predicted lesions that meet no true one."""


def matched_lesions(predicted: Tensor, true: Tensor, spacing_mm: Sequence[float]) -> list[LesionMatch]:
    """True and predicted lesions of each scan, one by one.

    Voxels that touch, also at corners, are one lesion. A predicted lesion that shares a voxel with any true
    one belongs to it; if it meets several, or comes near others, each of its voxels belongs to the nearest
    true lesion. Dice of a true lesion is that with the voxels that belong to it. Predicted lesions that share
    no voxel with a true one are false: they are counted, and harm no lesion's Dice.

    Args:
        predicted: masks [batch, z, y, x], bool.
        true: masks of the same shape.
        spacing_mm: voxel edges (z, y, x) in mm.
    """
    numbers = (separate_lesions(mask[:, None]).cpu().numpy() for mask in (predicted, true))
    return [_matched(found, wanted, spacing_mm) for found, wanted in zip(*numbers, strict=True)]


def _matched(found: NDArray[Any], wanted: NDArray[Any], spacing_mm: Sequence[float]) -> LesionMatch:
    """The same of one scan, from the numbers of lesions by voxel."""
    true, predicted = int(wanted.max()), int(found.max())
    met = np.setdiff1d(np.unique(found[wanted > 0]), [0])
    false = predicted - len(met)
    if not true:
        return LesionMatch([], false)
    nearest = ndimage.distance_transform_edt(
        wanted == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    owner = np.where(np.isin(found, met), wanted[tuple(nearest)], 0)
    volume = math.prod(spacing_mm)
    return LesionMatch([_met(owner == n, wanted == n, volume) for n in range(1, true + 1)], false)


def _met(found: Mask, wanted: Mask, voxel_mm3: float) -> Lesion:
    """A true lesion and the voxels that belong to it."""
    common = int((found & wanted).sum())
    share = 2 * common / (int(found.sum()) + int(wanted.sum()))
    return Lesion(voxel_mm3 * int(wanted.sum()), share, common > 0)


BINS_MM3: tuple[tuple[str, float, float], ...] = (
    ("0_30mm3", 0.0, 30.0),
    ("30_60mm3", 30.0, 60.0),
    ("60mm3", 60.0, math.inf),
)
"""Bins of the true volume of a lesion: name, from, to below."""


def lesion_scores(predicted: Tensor, true: Tensor, spacing_mm: Sequence[float]) -> dict[str, Tensor]:
    """Figures of the lesions of each scan, see :func:`matched_lesions`.

    Args:
        predicted: masks [batch, z, y, x], bool.
        true: masks of the same shape.
        spacing_mm: voxel edges (z, y, x) in mm.

    Returns:
        Each [batch]: ``dice_BIN``, mean over the lesions of a bin of true volume, a missed one 0;
        ``lesions_found``, share of the true lesions of which a voxel is predicted; ``false_lesions``, number
        of predicted lesions that meet no true one. The last two are a point of the free-response ROC curve
        (Bunch et al., J. Appl. Photogr. Eng. 4 (1978) 166). NaN where a scan has no such lesion.
    """
    matches = matched_lesions(predicted, true, spacing_mm)

    def column(values: Iterator[list[float]]) -> Tensor:
        means = [math.fsum(each) / len(each) if each else math.nan for each in values]
        return torch.tensor(means, device=predicted.device)

    scores = {
        f"dice_{name}": column([le.dice for le in m.lesions if low <= le.volume_mm3 < high] for m in matches)
        for name, low, high in BINS_MM3
    }
    scores["lesions_found"] = column([float(le.found) for le in m.lesions] for m in matches)
    scores["false_lesions"] = column([float(m.false)] for m in matches)
    return scores
