"""Activity (Bq) of the lesions that a method's own image shows, from the counts; no true outline is used.

The image says where lesions are and how activity is spread around them; how much there is of each, the
counts say, by regional maximum likelihood. So a lesion that smoothing or a prior has flattened is not read
too low for it. A wrong outline misreads it: it may be found together with a hot organ that it touches.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.regional_ml import RegionalLikelihood
from hspi_learn.metrics import grown, separate_lesions

THRESHOLD = 0.41
"""Height of a lesion's edge between what surrounds it and its maximum. Sources: Erdi et al., Cancer Res. 55
(1995) 5823s; above what surrounds it: Boellaard et al., Eur. J. Nucl. Med. Mol. Imaging 42 (2015) 328.
"""

CONTRAST = 2.0
"""A lesion's maximum is so many times what surrounds it, or more; chosen, no source."""

AROUND_MM = (3.0, 7.0)
"""What surrounds a maximum: its nearest and farthest distance, which no lesion exceeds; chosen, no source."""

MOST_LESIONS = 20
"""The hottest so many are found, since each costs the projection of two regions; chosen, no source."""

RING_VOXELS = 2
"""Thickness of the surroundings of a lesion that are a region of their own: what it is blurred into."""

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


def lesion_likelihood(
    model: HyperspectralForwardModel, density: Tensor, image: Tensor, lesions: Tensor, body: Tensor
) -> RegionalLikelihood:
    """The likelihood of counts by the activity of lesions and of all that is around them.

    Its first regions are the lesions in the order of their numbers, each holding its activity evenly. Then
    follow the surroundings of each, and lungs, soft tissue and bone by density; in them activity is spread as
    in the image, summed over maps.

    Args:
        model: forward model with the energy windows of the scan.
        density: of the object, [z, y, x] in g/cm3.
        image: activity by any method, [map, z, y, x], 0 or more, in any unit.
        lesions: numbers of lesions by voxel, [z, y, x] int64, 0 outside: found in the image, or by any
            segmentation.
        body: voxels that may hold activity, [z, y, x], bool.

    Raises:
        UserError: an image of another shape or with negative, NaN or infinite values; and see
            :class:`~hspi_learn.classical.regional_ml.RegionalLikelihood`.
    """
    _check(image, model.grid)
    total = image.double().sum(0)
    spread = total + 1e-6 * total.mean() + torch.finfo(torch.float64).tiny  # where the image is 0, too
    inside = [lesions == number for number in range(1, int(lesions.max()) + 1)]
    around, left = [], body & (lesions == 0)
    for lesion in inside:
        ring = grown(lesion[None, None], RING_VOXELS)[0, 0] & left
        around.append(ring * spread)
        left = left & ~ring
    tissue = torch.bucketize(density, torch.tensor(TISSUES_G_CM3, dtype=density.dtype))
    rest = [(left & (tissue == kind)) * spread for kind in range(len(TISSUES_G_CM3) + 1)]
    return RegionalLikelihood(
        model, density, torch.stack([*(one.double() for one in inside), *around, *rest])
    )


def _check(image: Tensor, grid: VoxelGrid) -> None:
    """Refuse what is no image of this grid."""
    if tuple(image.shape[1:]) != tuple(grid.shape):
        raise UserError(f"the image has the grid {tuple(image.shape[1:])}; it needs {tuple(grid.shape)}")
    if not bool(torch.isfinite(image).all()) or bool((image < 0).any()):
        raise UserError("the image holds negative, NaN or infinite values; it needs 0 or more")
