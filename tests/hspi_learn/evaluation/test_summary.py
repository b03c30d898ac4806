"""Numbers of a comparison of reconstructions, worked out by hand for the three mice of ``conftest.py``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hspi_learn.evaluation import LeastDeviations, ReconstructionOutcome
from hspi_learn.evaluation.study import FULL
from hspi_learn.evaluation.summary import (
    attack_numbers,
    bound_numbers,
    mean_uptake,
    mouse_tumour_error,
    size_classes,
    summary,
)
from tests.hspi_learn.evaluation.conftest import ATTACKED, GROUPS, NAN, ORGANS

LEVELS = np.array([82.5, 165.0, 45.0])
"""Means of the true uptakes of each mouse: of 10, 100, 20, 200 and so on."""


@pytest.fixture
def numbers(by_hand: ReconstructionOutcome) -> dict[str, float]:
    return summary(by_hand, GROUPS, ORGANS)


def found(numbers: dict[str, float], names: str, suffix: str) -> list[float]:
    return [numbers[f"test/{name}{suffix}"] for name in names.split()]


def test_errors_over_mice(numbers: dict[str, float]) -> None:
    """NRMSE of the mice is 0.2, 0.4, 0.4 by gan; of both maps its median is 0.2 and 0.5; of tumour voxels
    0.3 and 0.7 where there are any."""
    errors = "nrmse nrmse_mean nrmse_worst nrmse_tumour"
    assert found(numbers, errors, "/gan") == pytest.approx([0.4, 1 / 3, 0.4, 0.5])
    assert found(numbers, errors, "/osem") == pytest.approx([0.5, 0.6, 0.8, 0.5])
    assert found(numbers, errors, "_at_0.2/gan") == pytest.approx([0.6, 1.6 / 3, 0.6, 0.5])
    assert found(numbers, errors, "/gan_attacked") == pytest.approx([1.5, 1.5, 2.0, 0.5])
    assert found(numbers, "nrmse", "/gan/ac225") == pytest.approx([0.2])
    assert found(numbers, "nrmse", "/gan/bi213") == pytest.approx([0.5])
    assert numbers["test/nrmse_unattacked/gan"] == pytest.approx(0.3)  # 0.2 and 0.4
    assert numbers["test/nrmse_unattacked/osem"] == pytest.approx(0.5)
    assert "test/nrmse_unattacked/mean_image" not in numbers
    assert (numbers["test/mice"], numbers["test/mice_attacked"]) == (3, 2)


def test_activities_of_tumours_and_organs(numbers: dict[str, float]) -> None:
    """Tumours: errors -10, -20 and 20 % of one map, 10, -10 and 0 % of the other; soft tissue 10, -10, 20 and
    0, -50, 0 %. The slope is numpy's, of means over the level of their mouse. At the threshold that finds
    80 % of three tumours (the lowest, 4) there are two false ones in three scans.
    """
    figures = "tumour_error tumour_bias tumour_auc false_lesions organ_error"
    assert found(numbers, figures, "/gan/ac225") == pytest.approx([0.2, -0.1, 0.8, 2 / 3, 0.1], rel=1e-5)
    assert found(numbers, figures, "/gan/bi213") == pytest.approx([0.1, 0.0, 0.9, 2 / 3, 0.0], abs=1e-6)
    assert found(numbers, figures, "/osem/ac225") == pytest.approx([0.5, -0.5, 0.8, 2 / 3, 0.5])
    level = np.array([82.5, 165, 165])
    truth, estimate = np.array([100.0, 150.0, 250.0]) / level, np.array([90.0, 120.0, 300.0]) / level
    assert numbers["test/tumour_slope/gan/ac225"] == pytest.approx(
        np.polyfit(truth, estimate, 1)[0], rel=1e-5
    )
    assert numbers["test/tumour_slope/osem/bi213"] == pytest.approx(0.5)
    assert numbers["test/tumour_error/gan_attacked/ac225"] == pytest.approx(0.2)
    assert numbers["test/tumour_error_at_0.2/osem/ac225"] == pytest.approx(0.5)


def test_tumours_by_third_of_their_volume(numbers: dict[str, float]) -> None:
    """8, 16 and 24 mm3 are one each; borders are the quantiles 1/3 and 2/3, interpolated."""
    assert numbers["test/tumours"] == 3
    assert numbers["test/tumour_size_mm3/small_to"] == pytest.approx(8 + 16 / 3)
    assert numbers["test/tumour_size_mm3/large_from"] == pytest.approx(8 + 32 / 3)
    sizes = ("small", "middle", "large")
    for figure, expected in (("error", [0.1, 0.2, 0.2]), ("bias", [-0.1, -0.2, 0.2])):
        values = [numbers[f"test/tumour_{figure}_{size}/gan/ac225"] for size in sizes]
        assert values == pytest.approx(expected, rel=1e-5)
    bias = [numbers[f"test/tumour_bias_{size}/gan/bi213"] for size in sizes]
    assert bias == pytest.approx([0.1, -0.1, 0.0], abs=1e-6)


def test_a_volume_on_the_border_belongs_to_the_smaller_third() -> None:
    """Of 1, 1, 2, 2, 3, 3 mm3 the quantiles are 1 2/3 and 2 1/3; of four times 2 all are small."""
    volume = torch.tensor([[1.0, 1.0, 2.0], [2.0, 3.0, 3.0]])
    assert [int(chosen.sum()) for chosen in size_classes(volume)[1].values()] == [2, 2, 2]
    (low, high), classes = size_classes(torch.full((2, 2), 2.0))
    assert (low, high) == (2.0, 2.0)
    assert [int(chosen.sum()) for chosen in classes.values()] == [4, 0, 0]
    (low, high), classes = size_classes(torch.tensor([[1.0, 2.0, NAN]]))
    assert math.isnan(low)
    assert math.isnan(high)
    assert classes == {}


def test_means_of_organs_on_clean_scans(numbers: dict[str, float]) -> None:
    """Medians of what is known: of 10, -10, -10, 5 and 20 % it is 5 %; tumours as one organ -10 and 5 %."""
    assert numbers["test/bias/gan/ac225"] == pytest.approx(0.05, rel=1e-5)
    assert numbers["test/bias_tumour/gan/ac225"] == pytest.approx(-0.025, rel=1e-4)
    assert numbers["test/bias/osem/bi213"] == pytest.approx(-0.5)
    assert found(numbers, "cnr", "/gan/ac225") == [2.0]
    assert found(numbers, "cnr", "/gan/bi213") == [3.5]
    truth = np.array([10, 100, 20, 200, 20, 200, 40, 400, 30, 60]) / np.repeat(LEVELS, [4, 4, 2])
    estimate = np.array([11, 90, 20, 220, 18, 210, 20, 400, 36, 60]) / np.repeat(LEVELS, [4, 4, 2])
    assert numbers["test/slope/gan"] == pytest.approx(np.polyfit(truth, estimate, 1)[0], rel=1e-5)
    assert numbers["test/bias_low/osem"] == pytest.approx(-0.5)
    assert numbers["test/slope/mean_image"] == pytest.approx(1.0)


def test_every_mouse_has_a_level(by_hand: ReconstructionOutcome) -> None:
    assert mean_uptake(by_hand.truth_regions).flatten().tolist() == pytest.approx(LEVELS.tolist())
    assert mean_uptake(by_hand.truth_regions).shape == (3, 1, 1)


def test_without_a_tumour_label_there_is_no_bias_of_tumours(by_hand: ReconstructionOutcome) -> None:
    """The third organ by another name counts as an organ."""
    numbers = summary(by_hand, GROUPS, ("outside", "soft_tissue", "liver"))
    assert not [name for name in numbers if name.startswith("test/bias_tumour/")]
    # Soft tissue 0.1, liver 0.075 (of 10 and 5 %).
    assert numbers["test/organ_error/gan/ac225"] == pytest.approx((0.1 + 0.075) / 2, rel=1e-4)


def test_error_of_the_tumours_of_a_mouse(by_hand: ReconstructionOutcome) -> None:
    """Means over maps and tumours: 0.1; (20 + 10 + 20 + 0) / 4 %; none. What is left out does not count."""
    scores, truth = by_hand.scores[FULL]["gan"], by_hand.truth_lesions
    nothing = torch.zeros_like(truth, dtype=torch.bool)
    error = mouse_tumour_error(scores, truth, nothing)
    assert error.tolist() == pytest.approx([0.1, 0.125, NAN], rel=1e-5, nan_ok=True)
    left_out = nothing.clone()
    left_out[1, :, 0] = True
    left_out[0] = True
    error = mouse_tumour_error(scores, truth, left_out)
    assert error.tolist() == pytest.approx([NAN, 0.1, NAN], rel=1e-5, nan_ok=True)
    first = mouse_tumour_error(scores.of_first(1), truth, nothing)
    assert first.tolist() == pytest.approx([0.1], rel=1e-5)


def test_differences_between_methods(by_hand: ReconstructionOutcome, numbers: dict[str, float]) -> None:
    """NRMSE -0.3, -0.1, -0.4: mean -0.8 / 3, SD sqrt(0.07 / 3), half t(0.975, 2) = 4.302653 times it over
    sqrt(3). Tumours of two mice -0.4, -0.375: t(0.975, 1) = 12.706205. Under attack NRMSE 0.3 and 1.1.
    """
    cases = (
        ("nrmse_difference", -0.8 / 3, 4.302653 * math.sqrt(0.07 / 3) / math.sqrt(3), 3),
        ("tumour_error_difference", -0.3875, 12.706205 * 0.0125, 2),
        ("nrmse_difference_attacked", 0.7, 12.706205 * 0.4, 2),
    )
    for name, mean, half, mice in cases:
        key = f"test/{name}/gan_minus_osem"
        values = [numbers[key], numbers[f"{key}/low"], numbers[f"{key}/high"]]
        assert values == pytest.approx([mean, mean - half, mean + half], rel=1e-4)
        assert numbers[f"{key}/scans"] == mice
    pairs = {name.split("/")[2] for name in numbers if name.startswith("test/nrmse_difference/")}
    assert pairs == {"gan_minus_osem", "gan_minus_mean_image", "osem_minus_mean_image"}
    assert not [name for name in numbers if "difference_at" in name and "attacked" not in name]


def test_tumours_that_cannot_be_told_do_not_count_in_differences(by_hand: ReconstructionOutcome) -> None:
    """The first tumour of the second mouse above 50 %: gan is left with 20 and 0 %, osem with half."""
    bounds = LeastDeviations(torch.full((2, 2, 3), 0.1), torch.full((2, 2, 2), 0.5))
    bounds.lesions[1, :, 0] = 0.51
    numbers = summary(by_hand, GROUPS, ORGANS, bounds=bounds)
    assert numbers["test/tumour_error_difference/gan_minus_osem"] == pytest.approx(-0.4, rel=1e-5)
    assert numbers["test/least_sd/soft_tissue/ac225"] == pytest.approx(0.1)


def test_bounds_by_organ_tumour_and_size(by_hand: ReconstructionOutcome) -> None:
    """Medians over the first two mice: soft tissue 0.1 and 0.3, tumours of 8, 16 and 24 mm3 0.4, 0.6 and 2;
    what gives no counts is 1000.
    """
    regions = torch.tensor([[[NAN, 0.1, 0.4], [NAN, 0.2, 0.5]], [[NAN, 0.3, 0.8], [NAN, 0.4, math.inf]]])
    lesions = torch.tensor([[[0.4, NAN], [0.7, NAN]], [[0.6, 2.0], [math.inf, math.inf]]])
    numbers = bound_numbers(LeastDeviations(regions, lesions), by_hand, GROUPS, ORGANS)
    expected = {
        "least_sd/soft_tissue/ac225": 0.2,
        "least_sd/soft_tissue/bi213": 0.3,
        "least_sd/tumour/ac225": 0.6,
        "least_sd/tumour/bi213": 1000.0,
        "least_sd_organs/ac225": 0.2,
        "least_sd_organs/bi213": 0.3,
        "least_sd_tumours/ac225": 0.6,
        "least_sd_tumours/bi213": 1000.0,
        "least_sd_tumours_small/ac225": 0.4,
        "least_sd_tumours_middle/ac225": 0.6,
        "least_sd_tumours_large/ac225": 2.0,
        "least_sd_tumours_small/bi213": 0.7,
        "least_sd_tumours_middle/bi213": 1000.0,
        "least_sd_tumours_large/bi213": 1000.0,
    }
    finite = {name: value for name, value in numbers.items() if not math.isnan(value)}
    assert finite == {f"test/{name}": pytest.approx(value) for name, value in expected.items()}


def test_what_attacks_did(by_hand: ReconstructionOutcome) -> None:
    """Medians of 1 and 2, and of 0.2 and 0.4; half of the mice masked, none converged; failures have none."""
    expected = {
        "test/attack_value/osem_attacked": 1.5,
        "test/attack_value_clean/osem_attacked": 0.3,
        "test/attack_masked/osem_attacked": 0.5,
        "test/attack_not_converged/osem_attacked": 1.0,
    }
    numbers = attack_numbers(by_hand)
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)
    assert len(numbers) == 3 * 4
    by_hand.failed[ATTACKED]["osem"][0] = True
    assert set(numbers) - set(attack_numbers(by_hand)) == set(expected)
