"""A method that gives NaN on a mouse is named and not ranked; it changes no figure of the others."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import PoissonBall, ProjectedGradient, RandomPerturbation
from hspi_learn.evaluation import (
    BoundedAttack,
    Condition,
    Conditions,
    Judge,
    LeastDeviations,
    ReconstructionOutcome,
    ReconstructionStudy,
    SampleScores,
    TaskReport,
)
from hspi_learn.evaluation.figures import EvaluationFigures
from hspi_learn.evaluation.report import findings
from hspi_learn.evaluation.study import CLEAN, FULL, Method, Outcome, run_case
from hspi_learn.evaluation.summary import summary
from hspi_learn.evaluation.tables import (
    attacks_table,
    bias_table,
    counts_table,
    headline_table,
    nrmse_table,
    tumours_table,
)
from hspi_learn.evaluation.trainings import summarise_runs
from hspi_learn.reconstructor import Reconstructor, ScanBatch, ScanContext
from hspi_learn.visual import png_bytes
from tests.hspi_learn.evaluation.conftest import GROUPS, ORGANS, Oracle

BOUNDS = LeastDeviations(torch.full((6, 2, 3), 0.7), torch.full((6, 2, 1), 0.7))


class Failing(Oracle):
    """An oracle whose estimate of one mouse, known by its counts, has a voxel that is no number."""

    def __init__(self, truth: Tensor, factor: float, counts: Tensor, wrong: float = torch.nan) -> None:
        super().__init__(truth, factor)
        self.counts, self.wrong = counts, wrong

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        estimate = super().reconstruct(projections, context)
        fails = (projections == self.counts).flatten(1).all(dim=1)
        where = torch.zeros_like(estimate, dtype=torch.bool)
        where[:, 0, 1, 2, 3] = fails
        return estimate.masked_fill(where, self.wrong)


def studied(
    model: HyperspectralForwardModel, judge: Judge, scans: ScanBatch, methods: dict[str, Reconstructor]
) -> ReconstructionOutcome:
    ball = PoissonBall(2.0)
    attacks = {
        "attacked": BoundedAttack(ProjectedGradient(1), ball),
        "random": BoundedAttack(RandomPerturbation(1), ball),
    }
    study = ReconstructionStudy(model, judge, {1.0: methods}, Conditions((1.0,), attacks))
    return study.run([scans])


@pytest.fixture(scope="module", params=[torch.nan, torch.inf])
def outcome(
    request: pytest.FixtureRequest, model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> ReconstructionOutcome:
    """gan is nearer to the truth on five mice, and fails on the fourth."""
    failing = Failing(scans.activity, 0.9, scans.projections[3], request.param)
    return studied(model32, judge, scans, {"gan": failing, "osem": Oracle(scans.activity, 0.8)})


def test_it_has_no_figures_and_the_others_keep_theirs(
    outcome: ReconstructionOutcome, model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """Only the number of failures is left of it; every number of the other is as without it."""
    numbers = {k: v for k, v in summary(outcome, GROUPS, ORGANS).items() if math.isfinite(v)}
    assert numbers["test/failed/gan"] == 1
    assert numbers["test/failed/osem"] == numbers["test/failed/osem_attacked"] == 0
    assert not [name for name in numbers if "/gan" in name and "/failed/" not in name]
    assert not [name for name in numbers if "difference" in name]
    alone = studied(model32, judge, scans, {"osem": Oracle(scans.activity, 0.8)})
    without = summary(alone, GROUPS, ORGANS)
    assert {k: v for k, v in numbers.items() if "/gan" not in k} == {
        k: v for k, v in without.items() if math.isfinite(v)
    }
    assert outcome.ranked == ("osem",)


def test_it_is_named_in_words_and_tables(outcome: ReconstructionOutcome) -> None:
    """One sentence for each condition, no verdict, and ``failed`` in place of every figure."""
    numbers = summary(outcome, GROUPS, ORGANS, bounds=BOUNDS)
    told = findings(outcome, numbers, ("tumour_error", "nrmse"))
    assert told[0] == "GAN failed on 1 of 6 mice (NaN or infinite values; number 3) and is not ranked."
    assert told[1].startswith("GAN, attacked, failed on 6 of 6 mice")
    assert len(told) == 3
    rows = {
        table.name: {row[0]: row for row in table.rows}
        for table in (
            headline_table(outcome, numbers, GROUPS),
            nrmse_table(outcome, numbers),
            attacks_table(outcome),
        )
    }
    for name, by_method in rows.items():
        assert "failed" in by_method["GAN"], name
        assert not [cell for cell in by_method["GAN"][2:] if isinstance(cell, float) and cell != BOUND], name
        assert "failed" not in by_method["OSEM"], name
    assert [row[2:4] for row in counts_table(outcome).rows] == [("failed", pytest.approx(0.2, abs=1e-5))]
    (row, *_) = bias_table(outcome, GROUPS, ORGANS, numbers).rows
    assert row[4:6] == ("failed", "failed")
    assert all("failed" in row for row in tumours_table(outcome, numbers, GROUPS).rows if row[0] == "GAN")


BOUND = pytest.approx(0.7)


def test_figures_show_the_others(outcome: ReconstructionOutcome, model32: HyperspectralForwardModel) -> None:
    """They can be drawn with what failed in them, and say what is left out and what is not identifiable."""
    makes = EvaluationFigures(
        outcome, model32.grid, GROUPS, ORGANS, ORGANS.index("tumour"), (70.0, 290.0), BOUNDS
    )
    assert makes.compared == ["osem"]
    assert makes.mice().caption.endswith("Not shown, since it failed: GAN.")
    typical = makes.volumes(3, 0, "typical")
    assert "NRMSE of OSEM" in typical.caption
    assert "Not identifiable (least relative SD above 50 %): outside (70 %)" in typical.caption
    assert png_bytes(typical.figure, 20).startswith(b"\x89PNG")
    assert len(makes.tumours().figure.axes) == len(makes.counts().figure.axes) + 1 == 2


def test_a_method_that_fails_under_attack_alone_keeps_its_clean_figures(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """Any change of the counts breaks it: clean NRMSE 0.1, and failed on all mice under both attacks."""

    class Brittle(Oracle):
        def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
            changed = (projections != scans.projections[: len(projections)]).flatten(1).any(dim=1)
            estimate = super().reconstruct(projections, context)
            return estimate.masked_fill(changed[:, None, None, None, None], torch.nan)

    class Felt(Brittle):
        """Depends on the counts, so that an attack has a gradient to follow."""

        def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
            share = projections.sum((1, 2)) / scans.projections[: len(projections)].sum((1, 2))
            return super().reconstruct(projections, context) * share[:, None, None, None, None]

    outcome = studied(model32, judge, scans, {"gan": Felt(scans.activity, 0.9)})
    numbers = summary(outcome, GROUPS, ORGANS)
    assert numbers["test/nrmse/gan"] == pytest.approx(0.1, abs=1e-4)
    assert numbers["test/failed/gan"] == 0
    for kind in ("attacked", "random"):
        assert numbers[f"test/failed/gan_{kind}"] == 6
        assert f"test/nrmse/gan_{kind}" not in numbers
        assert len(outcome.attacked[Condition(1.0, kind)]["gan"].value) == 6


def test_an_attacked_prediction_is_that_of_the_worst_input(
    model32: HyperspectralForwardModel, judge: Judge, scans: ScanBatch
) -> None:
    """The NRMSE of the kept predictions is the attack's own value for each mouse; 1e-6."""
    from hspi_learn.classical import Osem

    outcome = studied(model32, judge, scans, {"osem": Osem(model32, 2, 2)})
    for kind in ("attacked", "random"):
        condition = Condition(1.0, kind)
        found = outcome.scores[condition]["osem"].scan_nrmse
        torch.testing.assert_close(found, outcome.attacked[condition]["osem"].value, rtol=1e-6, atol=1e-6)


class Numbers:
    """Four samples of one number each, for a case of no scans."""

    def __init__(self, values: Tensor) -> None:
        self.batch, self.first_index, self.values = None, 0, values

    @property
    def inputs(self) -> Tensor:
        return self.values

    def thinned(self, fraction: float, seed: int) -> Numbers:
        return self

    def first(self, samples: int) -> Numbers | None:
        return None


def test_other_tasks_name_a_failure_too() -> None:
    """A prediction of NaN is named and not ranked, although the score itself is a number."""
    case = Numbers(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    methods = {
        "mine": Method(lambda values: torch.where(values == 2, torch.nan, values)),
        "other": Method(lambda values: values + 1),
    }
    found: Outcome = run_case(
        case,  # type: ignore[type-var]
        {1.0: methods},
        Conditions(attacked_samples=0),
        lambda prediction, seen: SampleScores({"right": (prediction == seen.values).float()}),
    )
    report = TaskReport("T", found, "mean", frozenset({"right"}), "right")
    numbers = report.numbers()
    assert numbers["test/failed/mine"] == 1
    assert not [name for name in numbers if "right" in name and "mine" in name]
    assert numbers["test/right/other"] == 0
    assert report.statements(numbers) == [
        "mine failed on 1 of 4 samples (NaN or infinite values; number 1) and is not ranked."
    ]
    methods_table, conditions = report.tables(numbers)
    assert methods_table.rows[0] == ("mine", "failed")
    assert conditions.rows[0][-3:] == ("failed",) * 3
    assert found.failures(FULL, "other") == []
    assert FULL.kind == CLEAN


def test_trainings_without_a_figure_are_counted(tmp_path: Path) -> None:
    """Of four trainings one has no metrics and one lacks the figure: two are missing; a retry is not."""
    figures: list[dict[str, float] | None] = [
        {"a": 1.0, "b": 1.0},
        {"a": 3.0, "b": 1.0},
        {"b": 1.0},
        None,
        None,
    ]
    seeds = [0, 1, 2, 3, 0]
    folders = []
    for number, (metrics, seed) in enumerate(zip(figures, seeds, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.yaml").write_text(f"seed: {seed}\nweight: 1\n")
        if metrics is not None:
            (folder / "metrics.json").write_text(json.dumps(metrics))
        folders.append(folder)
    rows = {metric: found for _, metric, found in summarise_runs(folders).rows}
    assert (rows["a"].n, rows["a"].missing, rows["a"].mean) == (2, 2, 2.0)
    assert (rows["b"].n, rows["b"].missing) == (3, 1)
