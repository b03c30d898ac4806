"""Contours of a few voxels by hand: Dice, surface distance, uptake, and lesions one by one."""

import math

import pytest
import torch
from torch import Tensor

from hspi_learn.metrics import dice, lesion_scores, matched_lesions, surface_distance_mm, uptake_error

SPACING_MM = (1.0, 2.0, 3.0)


def mask_of(*boxes: tuple[slice, slice, slice]) -> Tensor:
    """A mask [1, 6, 7, 20] of boxes."""
    mask = torch.zeros(1, 6, 7, 20, dtype=torch.bool)
    for box in boxes:
        mask[0][box] = True
    return mask


def box(z: int, y: int, x: int, *size: int) -> tuple[slice, slice, slice]:
    """A box from a voxel on."""
    z_size, y_size, x_size = size
    return slice(z, z + z_size), slice(y, y + y_size), slice(x, x + x_size)


def test_dice_by_hand() -> None:
    """Eight true voxels and twelve predicted, eight of both: 16 / 20. Missed: 0. No truth: NaN."""
    true = torch.stack((mask_of(box(1, 1, 1, 2, 2, 2)), mask_of(box(1, 1, 1, 1, 1, 1)), mask_of()), dim=1)
    predicted = torch.stack(
        (mask_of(box(1, 1, 1, 2, 2, 3)), mask_of(), mask_of(box(0, 0, 0, 1, 1, 1))), dim=1
    )
    found = dice(predicted, true)[0].tolist()
    assert found[:2] == [pytest.approx(0.8), 0]
    assert math.isnan(found[2])


@pytest.mark.parametrize(("axis", "step_mm"), list(enumerate(SPACING_MM)))
def test_surface_distance_by_hand(axis: int, step_mm: float) -> None:
    """A cube of 2 x 2 x 2, predicted one voxel longer: four voxels of twelve lie a voxel's edge away, and
    the eight true ones on the predicted surface, (4 x edge) / 20 on average over both. Missed: the diagonal
    of the grid, sqrt(6^2 + 14^2 + 60^2) mm. No truth: NaN."""
    longer = [2, 2, 2]
    longer[axis] = 3
    true = torch.stack((mask_of(box(1, 1, 1, 2, 2, 2)), mask_of(box(1, 1, 1, 1, 1, 1)), mask_of()), dim=1)
    predicted = torch.stack((mask_of(box(1, 1, 1, *longer)), mask_of(), mask_of()), dim=1)
    found = surface_distance_mm(predicted, true, SPACING_MM)[0].tolist()
    assert found[0] == pytest.approx(4 * step_mm / 20, rel=1e-6)
    assert found[1] == pytest.approx(math.sqrt(36 + 196 + 3600), rel=1e-6)
    assert math.isnan(found[2])


def test_uptake_error_by_hand() -> None:
    """True voxels hold 3, 1 and 2 Bq, the voxel beside them 5 and 3 in two maps. A contour of 3, 1 and that
    one holds 12 Bq: |12 - 6| / 6 = 1; one of 3 Bq |3 - 6| / 6; an empty one 1; no truth is NaN."""
    activity = torch.zeros(4, 2, 1, 1, 4)
    activity[:, 0, 0, 0] = torch.tensor([3.0, 1.0, 2.0, 5.0])
    activity[:, 1, 0, 0, 3] = 3.0
    true = torch.tensor([[1, 1, 1, 0]] * 3 + [[0] * 4], dtype=torch.bool).reshape(4, 1, 1, 4)
    predicted = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [0] * 4, [1] * 4], dtype=torch.bool)
    found = uptake_error(predicted.reshape(4, 1, 1, 4), true, activity).tolist()
    assert found[:3] == pytest.approx([1.0, 0.5, 1.0])
    assert math.isnan(found[3])


def test_lesions_one_by_one() -> None:
    """Voxels of 6 mm3. The first lesion (4 voxels, 24 mm3) is met by 6 voxels, 4 of them its own: 8 / 10. The
    second (8, 48 mm3) is met by a prediction of 2 voxels, one of which lies outside: 2 / 10. The third (12,
    72 mm3) and the fourth (10, 60 mm3) share a prediction of 8 voxels in a row, 2 in each of them and 2 next
    to each: 4 / 16 and 4 / 14. The fifth (1, 6 mm3) is missed by a prediction beside it, which is
    false, as is one two voxels behind that of the first, which it leaves as it is."""
    true = mask_of(
        box(0, 0, 0, 2, 2, 1), box(4, 0, 0, 2, 2, 2), box(0, 0, 8, 3, 2, 2), box(0, 0, 14, 5, 1, 2)
    )
    true |= mask_of(box(5, 6, 19, 1, 1, 1))
    predicted = mask_of(box(0, 0, 0, 2, 3, 1), box(5, 1, 1, 1, 1, 2), box(0, 0, 8, 1, 1, 8))
    predicted |= mask_of(box(5, 4, 19, 1, 1, 1), box(0, 5, 0, 1, 1, 1))
    (match,) = matched_lesions(predicted, true, SPACING_MM)
    assert match.false == 2
    by_volume = {round(lesion.volume_mm3): lesion for lesion in match.lesions}
    assert {volume: lesion.found for volume, lesion in by_volume.items()} == {
        24: True,
        48: True,
        72: True,
        60: True,
        6: False,
    }
    assert by_volume[24].dice == pytest.approx(8 / 10)
    assert by_volume[48].dice == pytest.approx(2 / 10)
    assert by_volume[72].dice == pytest.approx(4 / 16)
    assert by_volume[60].dice == pytest.approx(4 / 14)
    found = {name: float(values) for name, values in lesion_scores(predicted, true, SPACING_MM).items()}
    assert found["dice_0_30mm3"] == pytest.approx((8 / 10 + 0) / 2)
    assert found["dice_30_60mm3"] == pytest.approx(2 / 10)
    assert found["dice_60mm3"] == pytest.approx((4 / 16 + 4 / 14) / 2)
    assert found["lesions_found"] == pytest.approx(4 / 5)
    assert found["false_lesions"] == 2


def test_scans_without_a_lesion() -> None:
    """No lesion has no Dice and no share found; what is predicted there is false, each piece by itself."""
    predicted = mask_of(box(0, 0, 0, 1, 1, 1), box(1, 1, 1, 1, 1, 1), box(3, 3, 3, 1, 1, 1))
    found = lesion_scores(predicted, mask_of(), SPACING_MM)
    assert float(found.pop("false_lesions")) == 2  # voxels that touch at a corner are one
    assert all(math.isnan(float(values)) for values in found.values())
