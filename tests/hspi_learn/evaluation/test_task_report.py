"""The evaluation of any task against figures worked out by hand for five samples of two methods."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hspi_learn.evaluation import AttackRecord, Condition, SampleScores, TaskReport
from hspi_learn.evaluation.figures import CaptionedFigure
from hspi_learn.evaluation.study import FULL, Outcome
from hspi_learn.metrics import Reduction
from hspi_learn.visual.style import paper_figure

FEW, ATTACKED = Condition(0.3), Condition(1.0, "attacked")
NAN = math.nan


def of(error: list[float], hit: list[float]) -> SampleScores:
    return SampleScores({"error": torch.tensor(error), "hit": torch.tensor(hit)})


def fine(samples: int) -> dict[str, Tensor]:
    return {method: torch.zeros(samples, dtype=torch.bool) for method in ("gan", "control")}


@pytest.fixture
def outcome() -> Outcome:
    """Five samples, the last without an error; 30 % of the counts; the first two attacked.

    Of control no sample has a hit.
    """
    none = [NAN] * 5
    scores = {
        FULL: {
            "gan": of([1.0, 2.0, 3.0, 6.0, NAN], [0.5, 1.0, 0.75, 0.75, 1.0]),
            "control": of([2.0, 3.0, 4.0, 5.0, NAN], none),
        },
        FEW: {
            "gan": of([2.0, 4.0, 6.0, 12.0, NAN], [0.25, 0.5, 0.5, 0.75, 1.0]),
            "control": of([5.0, 5.0, 5.0, 9.0, NAN], none),
        },
        ATTACKED: {"gan": of([3.0, 5.0], [0.0, 0.5]), "control": of([3.0, 4.0], none[:2])},
    }
    record = AttackRecord(
        torch.tensor([3.0, 5.0]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([False, True]),
        torch.tensor([True, True]),
    )
    failed = {FULL: fine(5), FEW: fine(5), ATTACKED: fine(2)}
    return Outcome(
        scores, {ATTACKED: {"gan": record}}, {"gan": torch.arange(5.0), "control": torch.ones(5)}, failed
    )


def report(outcome: Outcome, headline: Reduction = "mean") -> TaskReport:
    return TaskReport("T", outcome, headline, frozenset({"hit"}), "error", {"Task": "Toy"})


def test_numbers_by_hand(outcome: Outcome) -> None:
    """Every number there is, and no other.

    Differences of error, gan minus control: -1, -1, -1, 1 has mean -0.5 and SD 1, so half of the interval is
    t(0.975, 3) / sqrt(4) = 3.182446 / 2; attacked 0, 1 has mean 0.5 and SD sqrt(1 / 2), half of it
    t(0.975, 1) / 2 = 12.706205 / 2. The worst hit is the lowest.
    """
    errors = {
        "": (3.0, 2.5, 6.0),
        "_at_0.3": (6.0, 5.0, 12.0),
    }
    expected = {"test/samples": 5.0, "test/samples_attacked": 2.0}
    for at, (mean, median, worst) in errors.items():
        expected |= {f"test/error{at}/gan": mean, f"test/error_mean{at}/gan": mean}
        expected |= {f"test/error_median{at}/gan": median, f"test/error_worst{at}/gan": worst}
        expected |= {f"test/failed{at}/gan": 0.0, f"test/failed{at}/control": 0.0}
    for at, (mean, median, worst) in {"": (3.5, 3.5, 5.0), "_at_0.3": (6.0, 5.0, 9.0)}.items():
        expected |= {f"test/error{at}/control": mean, f"test/error_mean{at}/control": mean}
        expected |= {f"test/error_median{at}/control": median, f"test/error_worst{at}/control": worst}
    for at, (mean, median, worst) in {"": (0.8, 0.75, 0.5), "_at_0.3": (0.6, 0.5, 0.25)}.items():
        expected |= {f"test/hit{at}/gan": mean, f"test/hit_mean{at}/gan": mean}
        expected |= {f"test/hit_median{at}/gan": median, f"test/hit_worst{at}/gan": worst}
    under_attack = {"error/gan": (4.0, 5.0), "hit/gan": (0.25, 0.0), "error/control": (3.5, 4.0)}
    for key, (middle, worst) in under_attack.items():
        score, method = key.split("/")
        expected |= {f"test/{score}{r}/{method}_attacked": middle for r in ("", "_mean", "_median")}
        expected[f"test/{score}_worst/{method}_attacked"] = worst
        expected[f"test/failed/{method}_attacked"] = 0.0
    expected |= {"test/error_unattacked/gan": 1.5, "test/hit_unattacked/gan": 0.75}
    expected["test/error_unattacked/control"] = 2.5
    expected |= {"test/attack_value/gan_attacked": 4.0, "test/attack_value_clean/gan_attacked": 1.5}
    expected |= {"test/attack_masked/gan_attacked": 0.5, "test/attack_not_converged/gan_attacked": 1.0}
    for suffix, mean, half, scans in (("", -0.5, 3.182446 / 2, 4.0), ("_attacked", 0.5, 12.706205 / 2, 2.0)):
        key = f"test/error_difference{suffix}/gan_minus_control"
        expected |= {key: mean, f"{key}/low": mean - half, f"{key}/high": mean + half, f"{key}/scans": scans}
    assert report(outcome).numbers() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("headline", "error", "hit"), [("median", 2.5, 0.75), ("worst", 6.0, 0.5)])
def test_the_headline_is_reduced_as_the_task_does_it(
    outcome: Outcome, headline: Reduction, error: float, hit: float
) -> None:
    """Under the plain name of a score stands the task's own reduction; beside it all three as ever."""
    numbers = report(outcome, headline).numbers()
    assert numbers["test/error/gan"] == error
    assert numbers["test/hit/gan"] == hit
    assert numbers["test/error_mean/gan"] == 3.0
    assert numbers["test/hit_unattacked/gan"] == {"median": 0.75, "worst": 0.5}[headline]


def test_tables_by_hand(outcome: Outcome) -> None:
    """A row for each method, clean beside attacked, and a row for each condition, method and score."""
    found = report(outcome)
    methods, conditions = found.tables(found.numbers())
    assert methods.columns == ("Method", "error", "hit", "error, attacked", "hit, attacked")
    assert [row[0] for row in methods.rows] == ["GAN", "No adversary"]
    assert methods.rows[0][1:] == pytest.approx((3.0, 0.8, 4.0, 0.25))
    assert methods.rows[1][1:] == pytest.approx((3.5, NAN, 3.5, NAN), nan_ok=True)
    assert methods.caption == "Scores of the task, means over 5 unseen samples."
    assert (
        report(outcome, "median")
        .tables(found.numbers())[0]
        .caption.startswith("Scores of the task, medians over 5")
    )
    assert conditions.columns == (
        "Condition",
        "share of counts",
        "method",
        "score",
        "samples",
        "median",
        "mean",
        "worst",
    )
    assert len(conditions.rows) == 3 * 2 * 2
    assert conditions.rows[0] == ("clean", "1", "GAN", "error", 5.0, 2.5, 3.0, 6.0)
    assert conditions.rows[4] == ("clean", "0.3", "GAN", "error", 5.0, 5.0, 6.0, 12.0)
    assert conditions.rows[9] == ("attacked", "1", "GAN", "hit", 2.0, 0.25, 0.25, 0.0)


def test_a_failure_at_one_condition_takes_the_figures_of_that_condition(outcome: Outcome) -> None:
    """gan fails on a sample under attack: clean figures stay; attacked ones say so, and are not compared."""
    outcome.failed[ATTACKED]["gan"][1] = True
    found = report(outcome)
    numbers = found.numbers()
    assert numbers["test/failed/gan_attacked"] == 1
    assert numbers["test/failed/gan"] == 0
    assert numbers["test/error/gan"] == 3.0
    assert not [name for name in numbers if "gan_attacked" in name and "failed" not in name]
    assert not [name for name in numbers if "difference_attacked" in name]
    assert "test/error_difference/gan_minus_control" in numbers
    methods, conditions = found.tables(numbers)
    assert methods.rows[0][:2] == ("GAN", 3.0)
    assert methods.rows[0][3:] == ("failed", "failed")
    assert conditions.rows[8] == ("attacked", "1", "GAN", "error", 2.0, "failed", "failed", "failed")
    assert conditions.rows[0][-3:] == (2.5, 3.0, 6.0)


def test_a_method_that_no_attack_is_run_on_has_no_attacked_figure(outcome: Outcome) -> None:
    """Its cell is undefined, not failed, and the others are as with it."""
    del outcome.scores[ATTACKED]["control"], outcome.failed[ATTACKED]["control"]
    found = report(outcome)
    numbers = found.numbers()
    assert "test/error_unattacked/control" not in numbers
    cells = found.tables(numbers)[0].rows[1][3:]
    assert all(isinstance(cell, float) and math.isnan(cell) for cell in cells)
    assert numbers["test/error/gan_attacked"] == 4.0


def test_statements_compare_the_watched_score(outcome: Outcome) -> None:
    """Four samples have an error: too few to say more. Of eight with a difference of -1 and SD 0.01 gan is
    better, or worse if the highest value is best."""
    found = report(outcome)
    (told,) = found.statements(found.numbers())
    assert told.startswith("No verdict on error: 4 samples were compared")
    key = "test/error_difference/gan_minus_control"
    sure = {key: -1.0, f"{key}/low": -1.01, f"{key}/high": -0.99, f"{key}/scans": 8.0}
    assert found.statements(sure)[0].startswith("GAN has the lower error than No adversary")
    highest = TaskReport("T", outcome, "mean", frozenset({"error"}), "error")
    assert highest.statements(sure)[0].startswith("No adversary has the higher error than GAN")


def test_all_files(outcome: Outcome, tmp_path: Path) -> None:
    """Every value of every sample in CSV, predictions as arrays, attacked samples only of attacks, a page."""
    with paper_figure(1.0, 1.0) as figure:
        pass
    pages = {"toy": CaptionedFigure(figure, "A figure of nothing.")}
    found = TaskReport("T", outcome, "mean", frozenset({"hit"}), "error", {"Task": "Toy"}, pages)
    assert found.write(tmp_path) == found.numbers()
    tables = tmp_path / "tables"
    rows = list(csv.DictReader(io.StringIO((tables / "samples.csv").read_text())))
    assert len(rows) == 2 * (5 + 5 + 5 + 5 + 2 + 2)
    chosen = {(r["sample"], r["condition"], r["share"], r["method"], r["score"]): r["value"] for r in rows}
    assert chosen["3", "clean", "0.3", "GAN", "error"] == "12.0"
    assert chosen["1", "attacked", "1", "No adversary", "error"] == "4.0"
    assert chosen["4", "clean", "1", "GAN", "error"] == ""
    assert {path.stem for path in tables.iterdir()} == {
        "methods",
        "conditions",
        "samples",
        "attacked_samples",
    }
    first, second = csv.DictReader(io.StringIO((tables / "attacked_samples.csv").read_text()))
    assert (first["sample"], first["masked"], first["not converged"]) == ("0", "no", "yes")
    assert (second["clean objective"], second["attacked objective"], second["masked"]) == (
        "2.0",
        "5.0",
        "yes",
    )
    with np.load(tmp_path / "predictions.npz") as arrays:
        assert arrays["gan"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert set(arrays) == {"gan", "control"}
    page = (tmp_path / "report.html").read_text()
    for told in ("<h1>T</h1>", "<dt>Task</dt><dd>Toy</dd>", "A figure of nothing.", "No verdict on error"):
        assert told in page
    assert (tmp_path / "figures" / "toy.png").is_file()


def test_without_attacks_there_is_no_table_of_them(outcome: Outcome, tmp_path: Path) -> None:
    for kept in (outcome.scores, outcome.failed):
        kept.pop(ATTACKED)
    outcome.attacked.clear()
    found = report(outcome)
    numbers = found.write(tmp_path)
    assert not (tmp_path / "tables" / "attacked_samples.csv").exists()
    assert "test/samples_attacked" not in numbers
    assert found.tables(numbers)[0].columns == ("Method", "error", "hit")


def test_scores_of_batches_are_joined_in_order() -> None:
    """Two batches of two and one sample; the first two are those of the first batch."""
    joined = SampleScores.joined([of([1.0, 2.0], [0.0, 1.0]), of([3.0], [0.5])])
    assert {name: values.tolist() for name, values in joined.items()} == {
        "error": [1.0, 2.0, 3.0],
        "hit": [0.0, 1.0, 0.5],
    }
    assert isinstance(joined, SampleScores)
    first = joined.of_first(2)
    assert isinstance(first, SampleScores)
    assert {name: values.tolist() for name, values in first.items()} == {
        "error": [1.0, 2.0],
        "hit": [0.0, 1.0],
    }
