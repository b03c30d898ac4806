"""The result of a design study in a table, numbers and words: two materials with trials chosen by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.design import Comparison, GainCheck, MaterialDesign, Search, Trial
from hspi_learn.evaluation.designs import (
    check_numbers,
    check_statement,
    design_table,
    numbers_of,
    statement,
)

PROBLEM: Any = SimpleNamespace(
    start=(1.0, 20.5),
    camera=SimpleNamespace(spec=SimpleNamespace(panels=SimpleNamespace(detector_mm=60.0))),
    task=SimpleNamespace(
        parts=("liver/a", "liver/b", "tumour/a", "tumour/b"), wanted="tumour", wanted_parts=slice(2, 4)
    ),
)


@pytest.fixture
def gold() -> MaterialDesign:
    """Three evaluations by gradient, the second is best; two by grid."""
    gradient = Search((Trial(2.0, (1.0, 20.5)), Trial(0.5, (0.7, 15.0)), Trial(0.75, (0.8, 16.0))))
    grid = Search((Trial(0.625, (0.9, 17.0)), Trial(0.875, (1.1, 18.0))))
    return MaterialDesign("gold", gradient, grid, 12.5, 30.0)


@pytest.fixture
def lead() -> MaterialDesign:
    """One evaluation by each."""
    return MaterialDesign(
        "lead", Search((Trial(3.0, (1.0, 20.5)),)), Search((Trial(2.5, (1.2, 19.0)),)), 1.0, 2.0
    )


@pytest.fixture
def found(gold: MaterialDesign) -> Comparison:
    """Wanted deviations fall from 0.5 + 1.5 to 0.25 + 0.25: a gain of 4; one of the others is unknown."""
    before, after = torch.tensor([0.1, math.inf, 0.5, 1.5]), torch.tensor([0.2, math.inf, 0.25, 0.25])
    return Comparison(gold, before, after, slice(2, 4))


def test_a_row_for_each_material(gold: MaterialDesign, lead: MaterialDesign) -> None:
    """The value at the start, and the best of either search with its evaluations and seconds."""
    table = design_table(PROBLEM, [gold, lead])
    assert table.columns[:5] == (
        "Material",
        "start",
        "gradient: diameter mm",
        "plane mm",
        "sum of deviations",
    )
    assert table.columns[5:] == (
        *("evaluations", "s"),
        *("grid: diameter mm", "plane mm", "sum of deviations", "evaluations", "s"),
    )
    assert table.rows == (
        ("gold", 2.0, 0.7, 15.0, 0.5, 3.0, 12.5, 0.9, 17.0, 0.625, 2.0, 30.0),
        ("lead", 3.0, 1.0, 20.5, 3.0, 1.0, 1.0, 1.2, 19.0, 2.5, 1.0, 2.0),
    )
    assert "deviations of tumour/a, tumour/b; start: 1 mm at 20.5 mm." in table.caption


def test_numbers_by_name(gold: MaterialDesign, lead: MaterialDesign, found: Comparison) -> None:
    """Every number there is; an uptake that cannot be told apart has none."""
    expected = {"gain": 4.0, "before/objective": 2.0, "after/objective": 0.5}
    expected |= {"before/liver/a": 0.1, "before/tumour/a": 0.5, "before/tumour/b": 1.5}
    expected |= {"after/liver/a": 0.2, "after/tumour/a": 0.25, "after/tumour/b": 0.25}
    for key, row in {
        "gold/gradient": (0.5, 0.7, 15.0, 3.0, 12.5),
        "gold/grid": (0.625, 0.9, 17.0, 2.0, 30.0),
        "lead/gradient": (3.0, 1.0, 20.5, 1.0, 1.0),
        "lead/grid": (2.5, 1.2, 19.0, 1.0, 2.0),
    }.items():
        names = ("objective", "diameter_mm", "plane_mm", "evaluations", "seconds")
        expected |= {f"{key}/{name}": value for name, value in zip(names, row, strict=True)}
    assert numbers_of(PROBLEM, [gold, lead], found) == pytest.approx(expected)


def test_the_result_in_words(gold: MaterialDesign, lead: MaterialDesign, found: Comparison) -> None:
    """Plane at 15 mm, detector at 60 mm: magnified (60 - 15) / 15 = 3 times; 3 + 1 and 2 + 1 evaluations."""
    assert statement(PROBLEM, [gold, lead], found) == (
        "gold, diameter 0.70 mm at 15.0 mm (magnification 3.00): deviations sum to 0.5, 2 with the camera "
        "as it came (gain 4.00); 4 evaluations by gradient, 3 by grid."
    )


def test_the_check_in_numbers_and_words() -> None:
    check = GainCheck(by_model=1.5, by_monte_carlo=1.25, error=0.125)
    assert check_numbers(check) == {
        "check/gain_model": 1.5,
        "check/gain_monte_carlo": 1.25,
        "check/gain_monte_carlo_error": 0.125,
    }
    told = check_statement(PROBLEM, check)
    assert told.startswith("tumour against all else")
    assert "gain 1.50 by the model, 1.25 +- 0.12 by Monte Carlo" in told
