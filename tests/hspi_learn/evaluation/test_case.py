"""Batches of test samples: parts of them, fewer counts, other values, and what is known of their noise."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation import ReconstructionCase, TaskCase, thinned_scans
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Inputs
from tests.hspi_learn.evaluation.conftest import Oracle

COUNTS = torch.tensor([[[3.0, 0.0], [2.0, 1.0], [0.0, 5.0]]])


def task(space: str = "counts", expected: Tensor | None = None, live: Tensor | None = None) -> Any:
    """A task whose batch is its input values, and whose error is the sum of a prediction."""
    return SimpleNamespace(
        inputs=lambda batch: Inputs(batch if isinstance(batch, Tensor) else batch.projections, space),  # type: ignore[arg-type]
        expected=lambda batch: expected,
        system=SimpleNamespace(live=live),
        per_sample_loss=lambda prediction, batch: (prediction - batch).flatten(1).sum(1),
    )


def test_the_first_scans_of_a_batch(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """Two of six: counts, context and mask of these alone; of none there is no case."""
    case = ReconstructionCase.of(model32, scans)
    part = case.first(2)
    assert part is not None
    alone = ReconstructionCase.of(model32, ScanBatch(*(column[:2] for column in scans)))
    assert torch.equal(part.batch.projections, scans.projections[:2])
    assert torch.equal(part.mask, alone.mask)
    assert torch.equal(part.context.duration_s, alone.context.duration_s)
    assert torch.equal(part.expected(), alone.expected())
    assert case.first(1) is not None
    assert case.first(0) is None
    assert case.first(-3) is None


def test_other_counts_of_the_same_scans(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    """Inputs are the new counts, the context and the expectation stay."""
    case = ReconstructionCase.of(model32, ScanBatch(*(column[3:] for column in scans)))
    assert case.first_index == 3
    other = case.with_values(case.batch.projections + 1)
    assert torch.equal(other.inputs.values, scans.projections[3:] + 1)
    assert other.inputs.space == "counts"
    assert other.inputs.context is case.context
    assert torch.equal(other.expected(), case.expected())
    truth = case.batch.activity
    assert case.error(0.75 * truth).tolist() == pytest.approx([0.25] * 3, rel=1e-5)
    assert torch.equal(case.reconstructed(Oracle(truth, 0.5)), 0.5 * truth)


def test_every_draw_is_one_of_its_own(scans: ScanBatch) -> None:
    """Scans with the same counts are thinned differently by seed, share and number, and alike by none."""
    same = scans._replace(projections=torch.full_like(scans.projections, 100.0))
    drawn = thinned_scans(same, 0.5, seed=1).projections
    assert torch.equal(drawn, thinned_scans(same, 0.5, seed=1).projections)
    others = [
        thinned_scans(same, 0.5, seed=2).projections[0],
        thinned_scans(same, 0.51, seed=1).projections[0],
        *drawn[1:],
    ]
    for other in others:
        both = torch.stack((drawn[0].flatten(), other.flatten()))
        assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / 12  # of 144 independent pairs: four sigma
    # 144 counts of 100 each in every scan: within four sigma of a half.
    assert ((drawn.sum((1, 2)) - 7200).abs() < 4 * math.sqrt(3600)).all()


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_shares_are_above_0_and_at_most_1(scans: ScanBatch, fraction: float) -> None:
    with pytest.raises(UserError, match=rf"count_fractions holds {fraction}; it needs shares above 0"):
        thinned_scans(scans, fraction, 0)
    assert torch.equal(thinned_scans(scans, 1.0, 0).projections, scans.projections)


def test_what_a_task_expects_goes_first() -> None:
    """Its own expectation is taken as it is, whatever pixels are dead."""
    own = torch.full_like(COUNTS, 2.5)
    for live in (None, torch.tensor([1.0, 0.0, 1.0])):
        found = TaskCase(task(expected=own, live=live), COUNTS).expected()
        assert found is own


def test_counts_stand_for_themselves_where_pixels_are_dead() -> None:
    """Nothing is expected of a dead pixel, so that attacks leave it alone; elsewhere no count is impossible.

    With all pixels alive, or of an image, nothing is known.
    """
    live = torch.tensor([1.0, 0.0, 0.5])
    found = TaskCase(task(live=live), COUNTS).expected()
    assert found is not None
    least = torch.finfo(torch.float32).tiny
    assert found.tolist() == [[[3.0, pytest.approx(least)], [0.0, 0.0], [pytest.approx(least), 5.0]]]
    assert bool((found[:, [0, 2]] > 0).all())
    assert TaskCase(task(), COUNTS).expected() is None
    assert TaskCase(task("image", live=live), COUNTS).expected() is None
    changed = TaskCase(task(live=live), COUNTS).with_values(COUNTS + 1).expected()
    assert changed is not None
    assert changed.tolist() == [[[4.0, 1.0], [0.0, 0.0], [1.0, 6.0]]]


def test_samples_that_are_no_scans_cannot_be_thinned() -> None:
    """All of their counts are the samples themselves; a share of them is told to be impossible."""
    case = TaskCase(task(), [1, 2])
    assert case.thinned(1.0, 0) is case
    with pytest.raises(
        UserError, match=r"count_fractions holds 0\.5, but a list of SimpleNamespace holds no"
    ):
        case.thinned(0.5, 0)


def test_scans_of_a_task_are_thinned_as_those_of_reconstructions(scans: ScanBatch) -> None:
    """The same draws by seed and share, and the time falls with the counts."""
    found = TaskCase(task(), scans).thinned(0.25, 7)
    assert torch.equal(found.inputs.values, thinned_scans(scans, 0.25, 7).projections)
    assert found.batch.duration_s.tolist() == [450.0] * 6


def test_parts_of_any_batch() -> None:
    """Every tensor of a batch is cut, in whatever it lies; values of a case stand in place of the batch's."""
    batch = {"x": torch.arange(3.0), "more": [torch.arange(6.0).reshape(3, 2), "name"]}
    part = TaskCase(task(), batch, first_index=4).first(2)
    assert part is not None
    assert part.batch["x"].tolist() == [0.0, 1.0]
    assert part.batch["more"][0].shape == (2, 2)
    assert part.batch["more"][1] == "name"
    assert part.first_index == 4
    assert TaskCase(task(), batch).first(0) is None
    case = TaskCase(task(), COUNTS)
    assert torch.equal(case.with_values(2 * COUNTS).inputs.values, 2 * COUNTS)
    assert torch.equal(case.inputs.values, COUNTS)
    assert case.error(COUNTS + 1).tolist() == [6.0]
