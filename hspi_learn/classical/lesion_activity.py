"""Activity (Bq) of the lesions that a method's own image shows, from the counts; no true outline is used.

The image says where lesions are and how activity is spread around them; how much there is of each, the
counts say, by regional maximum likelihood. So a lesion that smoothing or a prior has flattened is not read
too low for it. Voxels at a lesion's rim belong to it in part, so that its activity is that of the whole
lesion. A wrong outline misreads it: it may be found together with a hot organ that it touches.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.regional_ml import RegionalEstimates, RegionalLikelihood
from hspi_learn.metrics import grown, separate_lesions

THRESHOLD = 0.41
"""Height of a lesion's edge between what surrounds it and its maximum. Sources: Erdi et al., Cancer Res. 55
(1995) 5823s; above what surrounds it: Boellaard et al., Eur. J. Nucl. Med. Mol. Imaging 42 (2015) 328.
"""

CONTRAST = 2.0
"""A lesion's maximum is so many times what surrounds it, or more; chosen, no source."""

AROUND_MM = (3.0, 7.0)
"""What surrounds a maximum: its nearest and farthest distance, which no lesion exceeds; chosen, no source."""

CORE_MM = 4.5
"""The centre of a lesion is told by what lies nearer to its maximum; chosen, no source."""

MOST_LESIONS = 12
"""The hottest so many are found, since each costs the projection of a region; chosen, no source."""

RING_VOXELS = 2
"""Thickness of the surroundings of lesions that are a region of their own: what they are blurred into."""

TISSUES_G_CM3 = (0.6, 1.3)
"""Densities between lungs, soft tissue and bone."""


def found_lesions(image: Tensor, body: Tensor, grid: VoxelGrid, threshold: float = THRESHOLD) -> Tensor:
    """Numbers of the hot spots of an image by voxel, the hottest first, from 1; 0 outside of all.

    Each is one hill of the image (watershed), down to a threshold. Whatever is small and hot is found, so
    that a kidney may be; the middle of a liver, which liver surrounds, is not.

    Args:
        image: activity of one map, [z, y, x], 0 or more, in any unit.
        body: voxels that may hold activity, [z, y, x], bool.
        grid: the voxels.
        threshold: see :data:`THRESHOLD`.

    Returns:
        [z, y, x], int64.

    Raises:
        UserError: an image of another shape or with negative, NaN or infinite values; a threshold that is
            not between 0 and 1.
    """
    _check(image[None], grid)
    if not 0 < threshold < 1:
        raise UserError(f"threshold is {threshold}; it needs to be over 0 and under 1, as {THRESHOLD}")
    points_mm = grid.centres_mm().to(image).reshape(-1, 3)
    tops, flat = hilltops(image, body), image.flatten()
    peaks = tops[body].unique()
    peaks = peaks[flat[peaks].argsort(descending=True, stable=True)]
    lesions = torch.zeros(grid.shape, dtype=torch.int64)
    for peak in peaks.tolist():
        distance_mm = (points_mm - points_mm[peak]).norm(dim=1).reshape(grid.shape)
        free, near = body & (lesions == 0), distance_mm <= AROUND_MM[1]
        around = image[free & near & (distance_mm >= AROUND_MM[0])]
        level = float(around.median()) if len(around) else 0.0
        height = float(flat[peak]) - level
        if height > 0 and height >= (CONTRAST - 1) * level:
            hill = free & near & (tops == peak) & (image >= level + threshold * height)
            parts = separate_lesions(hill[None, None])[0]
            lesions[parts == parts.flatten()[peak]] = int(lesions.max()) + 1
        if int(lesions.max()) == MOST_LESIONS:
            break
    return lesions


def hilltops(image: Tensor, body: Tensor) -> Tensor:
    """The maximum that each voxel of the body reaches by going to the hottest of its 26 neighbours, again and
    again: its place in the flattened image, [z, y, x] int64."""
    shape, here = image.shape, torch.arange(image.numel())
    value = functional.pad(torch.where(body, image, -torch.inf), (1,) * 6, value=-torch.inf)
    place = functional.pad(here.reshape(shape), (1,) * 6)
    windows = [
        tuple(slice(first, first + size) for first, size in zip(corner, shape, strict=True))
        for corner in itertools.product(range(3), repeat=3)
    ]
    around, places = (torch.stack([of[window] for window in windows]) for of in (value, place))
    # Of neighbours alike the first, so that no two lead to each other.
    upward = torch.where(around == around.amax(0), places, image.numel()).amin(0).flatten()
    upward = torch.where(body.flatten(), upward, here)
    while not torch.equal(upward[upward], upward):
        upward = upward[upward]
    return upward.reshape(shape)


def lesion_weights(image: Tensor, lesions: Tensor, body: Tensor, grid: VoxelGrid) -> Tensor:
    """How much of each voxel is a lesion's, [lesion, z, y, x] float64, 0 to 1.

    What an image shows above the level around a lesion, over that at its maximum, in its outline and
    :data:`RING_VOXELS` around it on the same hill. Of two voxels opposite each other about the lesion's
    centre the lower counts for both, since a lesion falls off on all sides, and what does not is an organ
    that it touches.

    Args:
        image: activity of the map in which the lesions were found, [z, y, x], 0 or more, in any unit.
        lesions: their numbers by voxel, [z, y, x] int64, 0 outside.
        body: voxels that may hold activity, [z, y, x], bool.
        grid: the voxels.

    Raises:
        UserError: an image of another shape or with negative, NaN or infinite values.
    """
    _check(image[None], grid)
    points_mm = grid.centres_mm().double().reshape(-1, 3)
    tops, image = hilltops(image, body), image.double()
    weights = image.new_zeros(int(lesions.max()), *grid.shape)
    for number, weight in enumerate(weights, start=1):
        lesion = lesions == number
        if not bool(lesion.any()):
            continue
        peak = int(torch.where(lesion, image, -1.0).argmax())
        level = _level(image, body & (lesions == 0), points_mm, peak)
        height = float(image.flatten()[peak]) - level
        hill = (tops == peak) & (lesions == 0) & grown(lesion[None, None], RING_VOXELS)[0, 0] & body
        if height > 0:
            raised = (lesion | hill) * ((image - level) / height).clamp(0, 1)
            near = (points_mm - points_mm[peak]).norm(dim=1).reshape(image.shape) < CORE_MM
            weight[:] = _symmetric(raised, near)
        else:
            weight[:] = lesion
    return weights


def _symmetric(weight: Tensor, near: Tensor) -> Tensor:
    """The lower of each voxel and the one opposite about the centre, which is told by squares of weights near
    the maximum."""
    places, core = weight.nonzero(), (weight * near).nonzero()
    share = weight[tuple(core.T)] ** 2
    centre = (core * share[:, None]).sum(0) / share.sum()
    opposite = (2 * centre - places).round().long()
    there = ((opposite >= 0) & (opposite < torch.tensor(weight.shape))).all(1)
    found = torch.zeros_like(weight)
    places, opposite = places[there], opposite[there]
    found[tuple(places.T)] = torch.minimum(weight[tuple(places.T)], weight[tuple(opposite.T)])
    return found


def _level(image: Tensor, free: Tensor, points_mm: Tensor, peak: int) -> float:
    """Median of an image around a maximum, in voxels that are free; 0 where there are none."""
    distance_mm = (points_mm - points_mm[peak]).norm(dim=1).reshape(image.shape)
    around = image[free & (distance_mm >= AROUND_MM[0]) & (distance_mm <= AROUND_MM[1])]
    return float(around.median()) if len(around) else 0.0


def lesion_likelihood(
    model: HyperspectralForwardModel,
    density: Tensor,
    image: Tensor,
    lesions: Tensor,
    body: Tensor,
    weights: Tensor | None = None,
) -> RegionalLikelihood:
    """The likelihood of counts by the activity of lesions and of all that is around them.

    Its first regions are the lesions in the order of their numbers. Then follow their surroundings, all
    together, and lungs, soft tissue and bone by density; in them activity is spread as in the image, summed
    over maps, less what is the lesions'.

    Args:
        model: forward model with the energy windows of the scan.
        density: of the object, [z, y, x] in g/cm3.
        image: activity by any method, [map, z, y, x], 0 or more, in any unit.
        lesions: numbers of lesions by voxel, [z, y, x] int64, 0 outside: found in the image, or by any
            segmentation.
        body: voxels that may hold activity, [z, y, x], bool.
        weights: how much of each voxel is a lesion's, [lesion, z, y, x], 0 to 1, and how its activity is
            spread; None: each lesion holds its activity evenly in its outline.

    Raises:
        UserError: an image of another shape or with negative, NaN or infinite values; and see
            :class:`~hspi_learn.classical.regional_ml.RegionalLikelihood`.
    """
    _check(image, model.grid)
    total = image.double().sum(0)
    spread = total + 1e-6 * total.mean() + torch.finfo(torch.float64).tiny  # where the image is 0, too
    if weights is None:
        weights = torch.stack([lesions == n for n in range(1, int(lesions.max()) + 1)] or [lesions < 0])
        weights, spread = weights.double(), torch.where(lesions > 0, 0.0, spread)
    else:
        spread = _less(spread, weights, body, model.grid)
    near = grown((lesions > 0)[None, None], RING_VOXELS)[0, 0] & body
    tissue = torch.bucketize(density, torch.tensor(TISSUES_G_CM3, dtype=density.dtype))
    rest = [(body & ~near & (tissue == kind)) * spread for kind in range(len(TISSUES_G_CM3) + 1)]
    return RegionalLikelihood(model, density, torch.stack([*weights, near * spread, *rest]))


def _less(spread: Tensor, weights: Tensor, body: Tensor, grid: VoxelGrid) -> Tensor:
    """What an image [z, y, x] holds besides lesions: in a voxel that is a lesion's in part, w, the image is
    w times the lesion's maximum and 1 - w of what surrounds it, at least as much as the level around."""
    points_mm = grid.centres_mm().to(spread).reshape(-1, 3)
    free, left = body & (weights.sum(0) == 0), spread
    for weight in weights:
        peak = int((weight * spread).argmax())
        level = _level(spread, free, points_mm, peak)
        top = float(spread.flatten()[peak])
        left = torch.maximum(left - top * weight, (1 - weight) * left.clamp_max(level))
    return left


@dataclass(frozen=True)
class LesionActivities:
    """The lesions of one scan, the hottest first, and the activity of each as a whole.

    Args:
        peak: place of each hottest voxel in the flattened image, [lesion] int64.
        centre_mm: mean place of each by its weights, [lesion, 3], x, y, z in mm from the isocentre.
        volume_mm3: of each outline, down to the threshold, [lesion].
        estimates: activity in Bq [lesion, map], SD and interval.
    """

    peak: Tensor
    centre_mm: Tensor
    volume_mm3: Tensor
    estimates: RegionalEstimates


def lesion_activities(
    model: HyperspectralForwardModel,
    counts: Tensor,
    duration_s: float,
    density: Tensor,
    image: Tensor,
    body: Tensor,
    level: float = 0.9,
    profiled: bool = True,
) -> LesionActivities:
    """The lesions that an image of a scan shows in its first map, and their activity by the counts.

    Args:
        model: forward model with the energy windows of the counts.
        counts: of one scan, [pixel, bin], 0 or more.
        duration_s: measured time in s.
        density: of the object, [z, y, x] in g/cm3.
        image: activity by any method, [map, z, y, x], 0 or more, in any unit.
        body: voxels that may hold activity, [z, y, x], bool.
        level: chance of the intervals to cover the true activity.
        profiled: whether intervals of small activities are by the profile likelihood, which takes longer
            than all else; otherwise all are value and SD.

    Raises:
        UserError: see :func:`found_lesions` and
            :class:`~hspi_learn.classical.regional_ml.RegionalLikelihood`.
    """
    lesions = found_lesions(image[0], body, model.grid)
    size = int(lesions.max())
    if not size:
        none = torch.zeros(0, len(image), dtype=torch.float64)
        estimates = RegionalEstimates(none, none, none, none, level, True)
        return LesionActivities(torch.zeros(0).long(), torch.zeros(0, 3), torch.zeros(0), estimates)
    weights = lesion_weights(image[0], lesions, body, model.grid)
    likelihood = lesion_likelihood(model, density, image, lesions, body, weights)
    found = likelihood.estimate(counts, duration_s, level, size if profiled else 0)
    numbers = torch.arange(1, size + 1)[:, None]
    inside = lesions.flatten() == numbers
    share = weights.flatten(1) / weights.flatten(1).sum(1, keepdim=True)
    return LesionActivities(
        torch.where(inside, image[0].flatten(), -1.0).argmax(1),
        share @ model.grid.centres_mm().double().reshape(-1, 3),
        inside.sum(1) * 1000 * model.grid.voxel_volume_ml,
        replace(found, **{k: getattr(found, k)[:size] for k in ("value", "sd", "low", "high")}),
    )


def _check(image: Tensor, grid: VoxelGrid) -> None:
    """Refuse what is no image of this grid."""
    if tuple(image.shape[1:]) != tuple(grid.shape):
        raise UserError(f"the image has the grid {tuple(image.shape[1:])}; it needs {tuple(grid.shape)}")
    if not bool(torch.isfinite(image).all()) or bool((image < 0).any()):
        raise UserError("the image holds negative, NaN or infinite values; it needs 0 or more")
