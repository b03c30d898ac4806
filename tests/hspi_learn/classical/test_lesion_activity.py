"""Lesions that an image shows, against hills made by hand; their activity where the image reads them low."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.core.grid import VoxelGrid
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical.lesion_activity import (
    CONTRAST,
    MOST_LESIONS,
    found_lesions,
    hilltops,
    lesion_activities,
    lesion_likelihood,
    lesion_weights,
)

GRID = VoxelGrid((20, 20, 20), 1.0)
BODY = torch.ones(GRID.shape, dtype=torch.bool)


def distance_mm(z: float, y: float, x: float) -> Tensor:
    """From a voxel of the grid, [z, y, x]."""
    axes = torch.meshgrid(*[torch.arange(20.0)] * 3, indexing="ij")
    return sum(((a - c) ** 2 for a, c in zip(axes, (z, y, x), strict=True)), torch.zeros(())).sqrt()


def test_a_lesion_ends_at_the_threshold() -> None:
    """A cone of 10 - 2 r above a background of 1: down to 41 % of 10, r <= 2.95; then to 70 %, r <= 1.5."""
    distance = distance_mm(10, 9, 8)
    image = 1 + (10 - 2 * distance).clamp_min(0)
    assert torch.equal(found_lesions(image, BODY, GRID), (distance <= 2.95).long())
    assert torch.equal(found_lesions(image, BODY, GRID, threshold=0.7), (distance <= 1.5).long())


def test_hills_that_touch_are_two_lesions_the_hottest_first() -> None:
    """Two cones 6 mm apart with a saddle above the threshold, parted at the saddle."""
    near, far = distance_mm(10, 10, 6), distance_mm(10, 10, 12)
    image = 1 + torch.maximum(20 - 3 * near, 18 - 3 * far).clamp_min(0)
    found = found_lesions(image, BODY, GRID)
    assert found.unique().tolist() == [0, 1, 2]
    assert found[10, 10, 6] == 1
    assert found[10, 10, 12] == 2
    assert (found[10, 10, 6:9] == 1).all()
    assert (found[10, 10, 10:13] == 2).all()


def test_what_is_wide_or_faint_is_no_lesion() -> None:
    """A ball of 9 mm, whose middle the same surrounds, and a spot of just less than the wanted contrast."""
    ball = 10.0 * (distance_mm(9, 9, 9) <= 9) + 1 - 0.01 * distance_mm(9, 9, 9)
    assert found_lesions(ball, BODY, GRID)[9, 9, 9] == 0
    spot = torch.ones(GRID.shape)
    for height, number in ((CONTRAST - 0.01, 0), (CONTRAST + 0.01, 1)):
        spot[5, 5, 5] = height
        assert int(found_lesions(spot, BODY, GRID).sum()) == number
    assert not found_lesions(0 * spot, BODY, GRID).any()
    assert not found_lesions(spot, ~BODY, GRID).any()


def test_no_more_lesions_than_the_hottest() -> None:
    """Of 27 single voxels the hottest are found, hottest first."""
    image = torch.ones(GRID.shape)
    places = torch.cartesian_prod(*[torch.tensor([2, 9, 16])] * 3)
    for k, (z, y, x) in enumerate(places.tolist()):
        image[z, y, x] = 10.0 + k
    found = found_lesions(image, BODY, GRID)
    assert int(found.max()) == MOST_LESIONS
    assert found[tuple(places[-1])] == 1
    assert found[tuple(places[-MOST_LESIONS])] == MOST_LESIONS
    assert found[tuple(places[0])] == 0


def test_every_voxel_climbs_to_a_maximum() -> None:
    """Step by step through the hottest neighbour, in plain Python, on noise and on a plateau."""
    image = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(0))
    image[2:4, 2:5, 2:5] = 0.9
    body = torch.ones(5, 6, 7, dtype=torch.bool)
    body[0, :, 0] = False
    found = hilltops(image, body)
    for place in body.nonzero().tolist():
        here = tuple(place)
        while True:
            around = [
                (z, y, x)
                for z in range(max(here[0] - 1, 0), min(here[0] + 2, 5))
                for y in range(max(here[1] - 1, 0), min(here[1] + 2, 6))
                for x in range(max(here[2] - 1, 0), min(here[2] + 2, 7))
                if body[z, y, x]
            ]
            best = max(around, key=lambda at: float(image[at]))  # the first of equals
            if best == here:
                break
            here = best
        assert int(found[tuple(place)]) == (here[0] * 6 + here[1]) * 7 + here[2]


def test_a_lesion_that_the_image_reads_low_has_all_its_activity(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Noise-free counts of an uneven body and an even lesion; the image has half of it: the truth to 1e-5."""
    body = density[0] > 0
    lesions = torch.zeros(body.shape, dtype=torch.int64)
    lesions[1:3, 2, 3] = 1
    truth = 1 + torch.rand(body.shape, generator=torch.Generator().manual_seed(0)).double()
    truth = torch.where(lesions > 0, 40.0, truth) * body
    activity = torch.stack((truth, 0.5 * truth))
    counts = model64.expected_counts(activity[None], model64.attenuation(density[:1]), 3600.0)[0]
    image = torch.where(lesions > 0, 0.5, 1.0) * activity
    likelihood = lesion_likelihood(model64, density[0], image, lesions, body)
    found = likelihood.estimate(counts, 3600.0)
    assert found.value[0].tolist() == pytest.approx([80.0, 40.0], rel=1e-5)
    assert found.identifiable[0].all()
    assert float(likelihood.image(found).sum()) == pytest.approx(float(activity.sum()), rel=1e-5)


def test_a_voxel_is_a_lesions_by_its_height() -> None:
    """A cone of 10 - 2 r above 1: as the height falls, all around the outline too."""
    distance = distance_mm(10, 9, 8)
    image = 1 + (10 - 2 * distance).clamp_min(0)
    found = lesion_weights(image, (distance <= 2.95).long(), BODY, GRID)
    share = ((10 - 2 * distance.double()) / 10).clamp(0, 1)
    assert torch.allclose(found[0], share, atol=1e-6)


def test_an_organ_that_a_lesion_touches_is_not_the_lesions() -> None:
    """A cone that runs into a wide slab of 60 % of its height 2 mm away: the outline holds the slab, whose
    voxels would weigh .6 each; they weigh what the cone alone has opposite, under .4."""
    distance = distance_mm(10, 10, 8)
    cone = (10 - 2.5 * distance).clamp_min(0)
    slab = torch.zeros(GRID.shape)
    slab[6:15, 6:15, 10:13] = 6.0
    image = 1 + torch.maximum(cone, slab)
    lesions = found_lesions(image, BODY, GRID)
    assert (lesions[10, 10, 10:12] == 1).all()
    weight = lesion_weights(image, lesions, BODY, GRID)[0]
    alone = lesion_weights(1 + cone, found_lesions(1 + cone, BODY, GRID), BODY, GRID)[0]
    assert float(weight[:, :, 10:13].sum()) < 0.4 * float((lesions == 1)[:, :, 10:13].sum())
    assert float(weight.sum()) == pytest.approx(float(alone.sum()), rel=0.35)


def test_a_lesion_that_the_image_blurs_has_its_activity_from_the_counts(
    model64: HyperspectralForwardModel, density: Tensor
) -> None:
    """Noise-free counts of two hot voxels in an even body, and an image that reads them at 60 %: the table of
    lesions has them at their place with the true activity, within 1 %; of an even image it is empty."""
    body = density[0] > 0
    activity = torch.stack((20.0 * body, 10.0 * body))
    activity[:, 1:3, 2, 3] *= 6
    image = activity.clone()
    image[:, 1:3, 2, 3] *= 0.6
    counts = model64.expected_counts(activity[None], model64.attenuation(density[:1]), 3600.0)[0]
    found = lesion_activities(model64, counts, 3600.0, density[0], image, body)
    assert found.estimates.value.tolist() == [
        [pytest.approx(240.0, rel=0.01), pytest.approx(120.0, rel=0.01)]
    ]
    assert found.centre_mm.tolist() == [pytest.approx(model64.grid.centres_mm()[1:3, 2, 3].mean(0).tolist())]
    assert found.volume_mm3.tolist() == [pytest.approx(16.0)]
    assert found.peak.tolist() == [(1 * 5 + 2) * 6 + 3]
    low, high = found.estimates.low, found.estimates.high
    assert ((low < found.estimates.value) & (found.estimates.value < high)).all()
    none = lesion_activities(model64, counts, 3600.0, density[0], 1.0 * body.expand(2, *body.shape), body)
    assert len(none.peak) == len(none.estimates.value) == 0


def test_what_is_no_image_is_refused(model64: HyperspectralForwardModel, density: Tensor) -> None:
    """Shape, sign, NaN, threshold, in a sentence each."""
    image = torch.ones(GRID.shape)
    for wrong, told in (
        (image[1:], r"the image has the grid \(19, 20, 20\); it needs \(20, 20, 20\)"),
        (-image, "the image holds negative, NaN or infinite values"),
        (image * torch.nan, "the image holds negative, NaN or infinite values"),
    ):
        with pytest.raises(UserError, match=told):
            found_lesions(wrong, BODY, GRID)
    with pytest.raises(UserError, match="the image holds negative"):
        lesion_weights(-image, BODY.long(), BODY, GRID)
    with pytest.raises(UserError, match="threshold is 41; it needs to be over 0 and under 1"):
        found_lesions(image, BODY, GRID, threshold=41)
    body = density[0] > 0
    with pytest.raises(UserError, match="the image has the grid"):
        lesion_likelihood(model64, density[0], torch.ones(2, 3, 5, 6), body.long(), body)
