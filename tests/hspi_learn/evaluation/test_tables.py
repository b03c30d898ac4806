"""Tables of a comparison cell by cell, and how numbers are shown, for the three mice of ``conftest.py``."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hspi_learn.evaluation import ReconstructionOutcome, Table
from hspi_learn.evaluation.study import FULL
from hspi_learn.evaluation.tables import (
    Cell,
    NotIdentifiable,
    attacked_samples_table,
    attacks_table,
    bias_table,
    counts_table,
    headline_table,
    mark_told,
    marked,
    mice_table,
    nrmse_table,
    shown,
    tumours_table,
)
from tests.hspi_learn.evaluation.conftest import ATTACKED, FEW, GROUPS, NAN, ORGANS, RANDOM

DAGGER = "\u2020"


def near(cells: Any) -> Any:
    """Cells as they are, numbers to seven digits; NaN is NaN."""
    return [cell if isinstance(cell, str) else pytest.approx(cell, rel=1e-6, nan_ok=True) for cell in cells]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("name", "name"),
        (NAN, "-"),
        (math.inf, "-"),
        (NotIdentifiable(NAN), "-"),
        (0.0, "0.000"),
        (0.99949, "0.999"),
        (-0.0123, "-0.012"),
        (1.0, "1"),
        (1.2349, "1.23"),
        (-12.349, "-12.3"),
        (99.94, "99.9"),
        (100.0, "100"),
        (-1234.5, "-1,234"),
        (27400.0, "27,400"),
        (NotIdentifiable(0.5), f"0.500 {DAGGER}"),
    ],
)
def test_cells_as_people_read_them(cell: Cell, told: str) -> None:
    """Whole numbers from 100, three digits from 1, three decimals below; a dagger behind what is marked."""
    assert shown(cell) == told


def test_marks_say_what_is_not_identifiable() -> None:
    """Above a half, not at it; the dagger is explained where a bound is known, and only there."""
    assert isinstance(marked(0.2, 0.51), NotIdentifiable)
    assert marked(0.2, 0.51) == 0.2
    assert not any(isinstance(marked(0.2, bound), NotIdentifiable) for bound in (0.5, 0.1, NAN, None))
    assert mark_told({"test/nrmse/gan": 1.0}) == ""
    told = mark_told({"test/nrmse/gan": 1.0, "test/least_sd_organs/ac225": 0.1})
    assert told.startswith(f"{DAGGER} Not identifiable")


def test_one_table_in_three_languages() -> None:
    """Written out whole: CSV with full numbers, Markdown and LaTeX with what is shown."""
    rows: tuple[tuple[Cell, ...], ...] = (("a_b", 1.23456, NotIdentifiable(0.25)), ("c, d", NAN, math.inf))
    table = Table("t", "50 % of {x}", ("Method", "x^2", "y"), rows)
    assert table.csv() == 'Method,x^2,y\na_b,1.23456,0.25\n"c, d",,\n'
    assert table.markdown() == (
        "50 % of {x}\n\n| Method | x^2 | y |\n| --- | ---: | ---: |\n"
        f"| a_b | 1.23 | 0.250 {DAGGER} |\n| c, d | - | - |\n"
    )
    assert table.latex() == (
        "\\begin{table}\n\\centering\n\\caption{50 \\% of \\{x\\}}\n\\begin{tabular}{lrr}\n\\toprule\n"
        "Method & x\\textasciicircum{}2 & y \\\\\n\\midrule\n"
        "a\\_b & 1.23 & 0.250 $^{\\dagger}$ \\\\\nc, d & - & - \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_the_headline(by_hand: ReconstructionOutcome) -> None:
    """A row for each method and map: tumours, organs, voxels, attacked, the bound; a number that is not there
    is undefined. Marks follow the bound of tumours for tumours and that of organs for organs.
    """
    numbers = {"test/tumours": 3.0, "test/mice_attacked": 2.0}
    names = ("tumour_error", "tumour_slope", "tumour_auc", "false_lesions", "organ_error", "nrmse")
    for n, name in enumerate(names):
        for m, group in enumerate(GROUPS):
            numbers[f"test/{name}/gan/{group}"] = n + 0.1 * m
    numbers |= {"test/nrmse/gan_attacked/ac225": 7.0, "test/nrmse/gan_random/bi213": 8.0}
    numbers |= {"test/least_sd_tumours/ac225": 0.6, "test/least_sd_organs/ac225": 0.4}
    numbers |= {"test/least_sd_tumours/bi213": 0.4, "test/least_sd_organs/bi213": 0.6}
    table = headline_table(by_hand, numbers, GROUPS)
    assert table.columns == (
        *("Method", "map", "tumour error", "slope", "AUC", "false lesions", "organ error"),
        *("NRMSE", "NRMSE, attacked", "NRMSE, random", "least SD"),
    )
    assert list(table.rows[0]) == near(["GAN", "ac225", 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, NAN, 0.6])
    assert list(table.rows[1]) == near(["GAN", "bi213", 0.1, 1.1, 2.1, 3.1, 4.1, 5.1, NAN, 8.0, 0.4])
    assert [row[:2] for row in table.rows[2:]] == [
        (method, group) for method in ("OSEM", "Training mean") for group in GROUPS
    ]
    daggers = [[isinstance(cell, NotIdentifiable) for cell in row].count(True) for row in table.rows[:2]]
    assert daggers == [2, 1]
    assert isinstance(table.rows[0][2], NotIdentifiable)
    assert isinstance(table.rows[1][6], NotIdentifiable)
    assert table.caption.startswith("3 unseen mice with 3 tumours. Tumour error")
    assert " Under attacked and random: over the first 2 mice." in table.caption
    assert DAGGER in table.caption


def test_a_headline_without_attacks(by_hand: ReconstructionOutcome) -> None:
    for condition in (ATTACKED, RANDOM):
        del by_hand.scores[condition]
    table = headline_table(by_hand, {"test/tumours": 3.0}, GROUPS)
    assert table.columns[-2:] == ("NRMSE", "least SD")
    assert "Under" not in table.caption
    assert DAGGER not in table.caption


def test_nrmse_over_voxels(by_hand: ReconstructionOutcome) -> None:
    """Figures of a method, then its median under each attack; failures at one condition take its cell."""
    names = ("nrmse", "nrmse_mean", "nrmse_worst", "nrmse_tumour", "slope")
    numbers = {f"test/{name}/osem": float(n) for n, name in enumerate(names)}
    numbers |= {"test/nrmse/osem_attacked": 8.0, "test/nrmse/osem_random": 9.0}
    by_hand.failed[RANDOM]["osem"][0] = True
    table = nrmse_table(by_hand, numbers)
    assert list(table.rows[1]) == ["OSEM", 0.0, 1.0, 2.0, 3.0, 4.0, 8.0, "failed"]
    assert list(table.rows[2]) == near(["Training mean", *[NAN] * 7])
    assert table.columns[-2:] == ("median, attacked", "median, random")


def test_tumours_by_third(by_hand: ReconstructionOutcome) -> None:
    """Thirds of 8, 16 and 24 mm3, named by their borders, with the bound of each."""
    sizes = {"small": 0.0, "middle": 1.0, "large": 2.0}
    numbers = {f"test/tumour_error_{size}/gan/ac225": value for size, value in sizes.items()}
    numbers |= {"test/tumour_bias_large/gan/ac225": -0.5, "test/least_sd_tumours_large/ac225": 0.7}
    table = tumours_table(by_hand, numbers, GROUPS)
    assert len(table.rows) == 3 * 2 * 3
    assert list(table.rows[0]) == near(["GAN", "ac225", "to 13", 1.0, 0.0, NAN, NAN])
    assert list(table.rows[1]) == near(["GAN", "ac225", "13 to 19", 1.0, 1.0, NAN, NAN])
    assert list(table.rows[2]) == near(["GAN", "ac225", "over 19", 1.0, 2.0, -0.5, 0.7])
    assert [isinstance(cell, NotIdentifiable) for cell in table.rows[2][4:]] == [True, True, False]


def test_counts(by_hand: ReconstructionOutcome) -> None:
    """Most counts first; counts are the median of 100, 400 and 200."""
    table = counts_table(by_hand)
    assert table.columns == ("Share of counts", "counts (median)", "GAN", "OSEM", "Training mean")
    assert [list(row) for row in table.rows] == [
        near(["1", 200.0, 0.4, 0.5, 0.7]),
        near(["0.2", 200.0, 0.6, 0.8, 0.7]),
    ]
    by_hand.failed[FEW]["gan"][2] = True
    assert counts_table(by_hand).rows[1][2] == "failed"


def test_attacks_compare_the_same_mice(by_hand: ReconstructionOutcome) -> None:
    """Clean over the two mice that were attacked, 0.2 and 0.4; what was not attacked has no row."""
    table = attacks_table(by_hand)
    assert table.columns == ("Method", "clean", "attacked", "random")
    assert [list(row) for row in table.rows] == [
        near(["GAN", 0.3, 1.5, 0.4]),
        near(["OSEM", 0.5, 0.8, 0.55]),
    ]
    assert "over the 2 mice that were attacked" in table.caption


def test_bias_of_organs(by_hand: ReconstructionOutcome) -> None:
    """Soft tissue: gan is 10, -10 and 20 % off, so 10 % with an SD of sqrt(14 / 9) * 10 %; osem 50 % always.

    Nothing is outside; tumours are two mice's.
    """
    table = bias_table(by_hand, GROUPS, ORGANS, {"test/least_sd/soft_tissue/ac225": 0.8})
    assert table.columns[:6] == ("Organ", "map", "true Bq/mL", "least SD", "GAN bias", "GAN SD")
    sd = math.sqrt(14 / 9) / 10
    zero = pytest.approx(0.0, abs=1e-6)
    assert list(table.rows[0]) == [
        *near(["soft_tissue", "ac225", 20.0, 0.8, 0.1]),
        pytest.approx(sd, rel=1e-5),
        *near([-0.5]),
        *[zero] * 3,
    ]
    assert all(isinstance(cell, NotIdentifiable) for cell in table.rows[0][4:])
    assert not any(isinstance(cell, NotIdentifiable) for row in table.rows[1:] for cell in row)
    assert [row[:3] for row in table.rows] == [
        ("soft_tissue", "ac225", 20.0),
        ("soft_tissue", "bi213", 40.0),
        ("tumour", "ac225", 150.0),
        ("tumour", "bi213", 300.0),
    ]
    assert list(table.rows[2][4:6]) == [pytest.approx(-0.025, rel=1e-4), pytest.approx(0.075, rel=1e-4)]
    by_hand.failed[FULL]["gan"][0] = True
    assert bias_table(by_hand, GROUPS, ORGANS, {}).rows[0][4:7] == ("failed", "failed", -0.5)


def test_every_mouse(by_hand: ReconstructionOutcome) -> None:
    """A row for each condition, method, mouse and map, with what is known of the mouse."""
    facts = {"kbq": [1.0, 2.0, 3.0], "min": [4.0, 5.0, 6.0]}
    table = mice_table(by_hand, GROUPS, facts)
    assert len(table.rows) == 2 * (3 * 3 + 3 * 3 + 2 * 2 + 2 * 2)
    assert table.columns == (
        *("mouse", "kbq", "min", "condition", "share", "window_counts", "method", "map"),
        *("nrmse", "nrmse_tumour", "cnr"),
    )
    expected = ["1", 2.0, 5.0, "clean", 1.0, 400.0, "GAN", "bi213", 0.6, 0.8, 5.0]
    assert list(table.rows[3]) == near(expected)
    few = ["2", 3.0, 6.0, "clean", 0.2, 200.0, "Training mean", "ac225", 0.9, NAN, NAN]
    assert list(table.rows[34]) == near(few)
    last = ["1", 2.0, 5.0, "random", 1.0, 400.0, "OSEM", "bi213", 0.8, 0.8, 5.0]
    assert list(table.rows[-1]) == near(last)


def test_every_attacked_sample(by_hand: ReconstructionOutcome) -> None:
    """Objective before and after, and both flags in words."""
    by_hand.attacked[ATTACKED]["gan"].not_converged[0] = False
    table = attacked_samples_table(by_hand)
    assert len(table.rows) == 3 * 2
    assert list(table.rows[0]) == near(["0", "attacked", "GAN", 0.2, 1.0, "no", "no"])
    assert list(table.rows[1]) == near(["1", "attacked", "GAN", 0.4, 2.0, "yes", "yes"])
    assert [row[1:3] for row in table.rows[2::2]] == [("attacked", "OSEM"), ("random", "GAN")]
