"""Figures of merit of a classification, by hand and by counting pairs."""

from __future__ import annotations

import math

import pytest
import torch

from hspi_learn.metrics import confusion_matrix, one_against_rest_auc, share_interval


def test_area_is_the_share_of_pairs_in_order() -> None:
    """Against counting all pairs, ties half (Hanley and McNeil), 1e-6."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(40, 3, generator=generator).mul(10).round().div(10)
    classes = torch.randint(3, (40,), generator=generator)
    areas = one_against_rest_auc(probabilities, classes)
    for number in range(3):
        here, rest = (probabilities[mask, number] for mask in (classes == number, classes != number))
        pairs = here[:, None] - rest[None, :]
        by_hand = float(((pairs > 0).double() + 0.5 * (pairs == 0).double()).mean())
        assert float(areas[number]) == pytest.approx(by_hand, abs=1e-6)


def test_areas_that_are_not_defined_are_nan() -> None:
    """No sample of a class, all of it, or a probability that is none."""
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    areas = one_against_rest_auc(probabilities, torch.tensor([0, 1]))
    assert areas[:2].tolist() == [1.0, 1.0]
    assert math.isnan(areas[2])
    assert bool(torch.isnan(one_against_rest_auc(probabilities, torch.tensor([0, 0]))).all())
    probabilities[0, 0] = torch.nan
    assert math.isnan(one_against_rest_auc(probabilities, torch.tensor([0, 1]))[0])


def test_confusion_by_hand() -> None:
    """Rows are true classes: of three scans of class 0 one is taken for class 2."""
    matrix = confusion_matrix(torch.tensor([0, 0, 2, 1]), torch.tensor([0, 0, 0, 1]), 3)
    assert matrix.tolist() == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(("right", "of"), [(8, 10), (0, 7), (20, 20)])
def test_interval_of_a_share_is_wilsons(right: int, of: int) -> None:
    """Wilson's closed form, 1e-9."""
    found = share_interval(torch.arange(of) < right)
    z, p = 1.959963984540054, right / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    assert found == pytest.approx((p, middle - half, middle + half), abs=1e-9)


def test_a_share_of_nothing_is_not_defined() -> None:
    assert all(math.isnan(value) for value in share_interval(torch.zeros(0)))
