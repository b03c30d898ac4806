"""The report of a classification from samples made up by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hspi_learn.evaluation import ClassificationReport, ClassifiedSamples, Condition, Outcome
from hspi_learn.evaluation.study import FULL, AttackRecord

NAMES = ("none", "one", "many")
CLASSES = [0, 0, 0, 1, 1, 1, 1, 0]
CLEAN = [0, 0, 1, 1, 1, 1, 0, 0]
ATTACKED = [1, 0, 1, 0]


def _samples(predicted: list[int], classes: list[int]) -> ClassifiedSamples:
    chosen = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    probabilities = (0.1 + chosen) / (0.1 + chosen).sum(dim=1, keepdim=True)
    true = torch.tensor(classes)
    right = (torch.tensor(predicted) == true).float()
    loss = -probabilities[torch.arange(len(true)), true].log()
    return ClassifiedSamples({"accuracy": right, "cross_entropy": loss}, probabilities, true, NAMES)


@pytest.fixture
def report() -> ClassificationReport:
    """Eight samples, no one of ``many``; the first four attacked."""
    condition = Condition(1.0, "attacked")
    no = torch.zeros(4, dtype=torch.bool)
    record = AttackRecord(torch.ones(4), torch.zeros(4), no, no)
    whole = ClassifiedSamples.joined([_samples(CLEAN[:3], CLASSES[:3]), _samples(CLEAN[3:], CLASSES[3:])])
    outcome = Outcome(
        {FULL: {"mine": whole}, condition: {"mine": _samples(ATTACKED, CLASSES[:4])}},
        {condition: {"mine": record}},
        {"mine": torch.zeros(8, 3)},
        {FULL: {"mine": torch.zeros(8, dtype=torch.bool)}, condition: {"mine": no}},
    )
    higher = frozenset({"accuracy"})
    return ClassificationReport("title", outcome, "mean", higher, "accuracy")


def test_numbers_by_hand(report: ClassificationReport) -> None:
    """Six of eight right; of four attacked one; ``many`` has neither recall nor area."""
    numbers = report.numbers()
    assert numbers["test/accuracy/mine"] == 0.75
    assert numbers["test/accuracy_unattacked/mine"] == 0.75
    assert numbers["test/accuracy/mine_attacked"] == 0.25
    assert 0.25 < numbers["test/accuracy/mine/low"] < 0.75 < numbers["test/accuracy/mine/high"] < 1
    assert numbers["test/majority_accuracy"] == 0.5
    assert numbers["test/recall_none/mine"] == numbers["test/recall_one/mine"] == 0.75
    assert numbers["test/worst_recall/mine_attacked"] == 0.0
    # Of the 16 pairs of a sample of class 0 and one of class 1, 9 are in order and 6 tie.
    assert numbers["test/auc_none/mine"] == pytest.approx((9 + 3) / 16)
    assert numbers["test/macro_auc/mine"] == pytest.approx((9 + 3) / 16)
    assert "test/auc_many/mine" not in numbers
    assert "test/recall_many/mine" not in numbers
    confusion = [[numbers[f"test/confusion/mine/{a}/{b}"] for b in NAMES] for a in NAMES]
    assert confusion == [[3, 1, 0], [1, 3, 0], [0, 0, 0]]


def test_tables_say_what_is_not_defined(report: ClassificationReport) -> None:
    """The headline table has accuracy and worst class; the classes' table names what has no area."""
    tables = {table.name: table for table in report.tables(report.numbers())}
    assert next(iter(tables)) == "accuracy"
    clean, attacked = tables["accuracy"].rows
    assert clean[4] == 0.75
    assert attacked[-1] == "one (0.00)"
    many: Any = next(row for row in tables["classes"].rows if row[3] == "many")
    assert many[4:] == (0.0, "not defined", "not defined")
    assert tables["confusion"].rows[0][4:] == (3.0, 1.0, 0.0)


def test_report_is_written_with_its_confusion(report: ClassificationReport, tmp_path: Path) -> None:
    numbers = report.write(tmp_path)
    assert numbers == report.numbers()
    page = (tmp_path / "report.html").read_text()
    assert "not defined" in page
    assert (tmp_path / "figures" / "mine_confusion.png").is_file()
    assert (tmp_path / "figures" / "mine_attacked_confusion.png").is_file()
    assert (tmp_path / "tables" / "confusion.csv").is_file()


def test_a_failed_method_has_no_accuracy(report: ClassificationReport) -> None:
    report.outcome.failed[FULL]["mine"][3] = True
    numbers = report.numbers()
    assert "test/accuracy/mine" not in numbers
    assert "test/macro_auc/mine" not in numbers
    (headline, *_) = report.tables(numbers)
    assert headline.rows[0][4] == "failed"
