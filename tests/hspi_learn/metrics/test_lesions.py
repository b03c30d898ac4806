"""Single lesions by hand: which voxels are one, how they stand out, and how many false ones there are."""

import math

import numpy as np
import pytest
import torch

from hspi_learn.metrics import (
    background_peaks,
    false_lesions,
    lesion_peaks,
    regional_means,
    separate_lesions,
    voxel_auc,
)


def test_voxels_that_touch_are_one_lesion() -> None:
    """A corner joins, a gap of one voxel does not; scans are numbered by themselves."""
    lesion = torch.zeros(2, 1, 3, 3, 6, dtype=torch.bool)
    lesion[0, 0, 0, 0, 0] = lesion[0, 0, 1, 1, 1] = lesion[0, 0, 1, 1, 3] = True
    lesion[1, 0, 2, 2, 5] = True
    found = separate_lesions(lesion)
    assert found[0, 0, 0, 0] == found[0, 1, 1, 1] == 1
    assert found[0, 1, 1, 3] == 2
    assert found[1, 2, 2, 5] == 1
    assert int((found > 0).sum()) == 4
    means = regional_means(torch.arange(54.0).reshape(1, 1, 3, 3, 6), found[:1], 3)[0, 0, 1:]
    assert means.tolist() == [(0 + 25) / 2, 27.0]


def test_auc_by_hand() -> None:
    """Lesion 3, 1 against background 0, 1, 2, 1: of 8 pairs 5 are won and 2 tied, (5 + 1) / 8 = 0.75."""
    activity = torch.tensor([3.0, 1.0, 0.0, 1.0, 2.0, 1.0, 99.0]).reshape(1, 1, 1, 1, 7)
    lesion = torch.tensor([1, 1, 0, 0, 0, 0, 0], dtype=torch.bool).reshape(1, 1, 1, 1, 7)
    background = torch.tensor([0, 0, 1, 1, 1, 1, 0], dtype=torch.bool).reshape(1, 1, 1, 1, 7)
    assert float(voxel_auc(activity, lesion, background)) == pytest.approx(0.75, abs=1e-12)
    assert float(voxel_auc(-activity, lesion, background)) == pytest.approx(0.25, abs=1e-12)
    assert torch.isnan(voxel_auc(activity, lesion & False, background))
    assert torch.isneginf(voxel_auc(torch.where(lesion, torch.nan, activity), lesion, background))


def test_peaks_are_hotter_than_all_around() -> None:
    """Two peaks, falling; a plateau, a slope towards a hot organ, and what lies in the organ are none."""
    activity = torch.zeros(1, 1, 5, 5, 12)
    activity[0, 0, 2, 2, 1] = 3.0
    activity[0, 0, 2, 2, 4] = 5.0
    activity[0, 0, 2, 2, 6:8] = 2.0
    activity[0, 0, 2, 2, 9:12] = torch.tensor([1.0, 4.0, 9.0])
    background = torch.ones(1, 1, 5, 5, 12, dtype=torch.bool)
    background[..., 11] = False
    found = background_peaks(activity, background, most=4)[0, 0]
    assert found[:2].tolist() == [5.0, 3.0]
    assert torch.isnan(found[2:]).all()
    assert background_peaks(activity, background, most=1)[0, 0].tolist() == [5.0]


def test_hottest_voxel_of_each_lesion() -> None:
    """Maxima by hand; a lesion without a voxel in the mask has none."""
    lesions = torch.tensor([1, 1, 0, 2, 3]).reshape(1, 1, 1, 5)
    activity = torch.tensor([1.0, 4.0, 9.0, 2.0, 7.0]).reshape(1, 1, 1, 1, 5)
    mask = torch.tensor([1, 1, 1, 1, 0], dtype=torch.bool).reshape(1, 1, 1, 1, 5)
    found = lesion_peaks(activity, lesions, mask)[0, 0]
    assert found[:2].tolist() == [4.0, 2.0]
    assert torch.isnan(found[2])


def test_false_lesions_at_the_threshold_that_finds_four_of_five() -> None:
    """The fourth lesion of five is at 2: of the peaks 3, 2, 1 and 2.5 of two scans three are as hot."""
    lesions = torch.tensor([[9.0, 4.0, 1.5], [3.0, 2.0, torch.nan]])
    peaks = torch.tensor([[3.0, 2.0, 1.0], [2.5, torch.nan, torch.nan]])
    assert false_lesions(lesions, peaks) == 3 / 2
    assert false_lesions(lesions, peaks, found_share=0.2) == 0
    assert false_lesions(lesions, peaks, found_share=1.0) == 3 / 2
    assert false_lesions(10 * lesions, 10 * peaks) == 3 / 2
    assert math.isnan(false_lesions(torch.full((2, 1), torch.nan), peaks))


def test_auc_against_all_pairs() -> None:
    """Numpy's comparison of all pairs of 200 random voxels with ties; 1e-12."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, 20, 200).astype(float)
    hot = generator.random(200) < 0.2
    pairs = values[hot][:, None] - values[~hot]
    activity = torch.from_numpy(values).reshape(1, 1, 4, 5, 10)
    lesion = torch.from_numpy(hot).reshape(1, 1, 4, 5, 10)
    expected = (pairs > 0).mean() + 0.5 * (pairs == 0).mean()
    assert float(voxel_auc(activity, lesion, ~lesion)) == pytest.approx(expected, abs=1e-6)


def test_the_hundred_hottest_peaks_are_kept() -> None:
    """Every other voxel of a plane of 23 x 23 is a peak, 144 in all; the hottest hundred, falling."""
    activity = torch.zeros(1, 1, 1, 23, 23)
    heights = torch.arange(1.0, 145.0)
    activity[0, 0, 0, ::2, ::2] = heights.reshape(12, 12)
    found = background_peaks(activity, torch.ones(1, 1, 1, 23, 23, dtype=torch.bool))[0, 0]
    assert found.tolist() == heights.flip(0)[:100].tolist()


def test_lesions_of_each_map_and_scan() -> None:
    """Maxima by hand of two maps and two scans, of which the second has one lesion and the first two."""
    lesions = torch.tensor([[1, 1, 2], [0, 1, 0]]).reshape(2, 1, 1, 3)
    activity = torch.tensor([[[1.0, 4.0, 2.0], [9.0, 0.0, -3.0]], [[7.0, 5.0, 8.0], [0.0, 6.0, 1.0]]])
    mask = torch.ones(2, 1, 1, 1, 3, dtype=torch.bool)
    found = lesion_peaks(activity.reshape(2, 2, 1, 1, 3), lesions, mask)
    assert found[0].tolist() == [[4.0, 2.0], [9.0, -3.0]]
    assert found[1, :, 0].tolist() == [5.0, 6.0]
    assert torch.isnan(found[1, :, 1]).all()
    assert lesion_peaks(activity.reshape(2, 2, 1, 1, 3), 0 * lesions, mask).shape == (2, 2, 0)


def test_shares_of_lesions_are_those_of_whole_numbers() -> None:
    """0.28 of 25 lesions are 7, though 0.28 * 25 is above 7 in floating point; the seventh is at 19, and as
    hot are two of three peaks in one scan of five. A share between two numbers of lesions finds the
    larger."""
    assert 0.28 * 25 > 7
    lesions = torch.arange(1.0, 26.0).reshape(5, 5)
    peaks = torch.full((5, 3), torch.nan)
    peaks[2] = torch.tensor([20.0, 19.0, 18.0])
    assert false_lesions(lesions, peaks, found_share=0.28) == 2 / 5
    assert false_lesions(lesions, peaks, found_share=0.29) == 3 / 5
    assert false_lesions(lesions, peaks, found_share=0.24) == 1 / 5
    assert false_lesions(lesions[:1], peaks[2:3]) == 3.0
