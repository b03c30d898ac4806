"""The report card of methods whose lines are known: one that hands out what it has learned, and OSEM."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from contracts.task_contract import scans_of
from torch import Tensor, nn

from data_gen.core.errors import UserError
from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Osem
from hspi_learn.evaluation import report_card
from hspi_learn.evaluation.report_card import LINES, ReportCard
from hspi_learn.evaluation.study import Conditions
from hspi_learn.reconstructor import ScanBatch, ScanContext


class Learned(nn.Module):
    """Hands out one image, whatever the counts are."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        return self.image


class Squared(nn.Module):
    """Activity that grows as the square of the counts, in every voxel of the body."""

    def reconstruct(self, projections: Tensor, context: ScanContext) -> Tensor:
        level = projections.sum(dim=(1, 2)).square()[:, None, None, None, None]
        return level * context.body.expand(-1, 2, -1, -1, -1)


@pytest.fixture
def scans(model32: HyperspectralForwardModel) -> ScanBatch:
    return scans_of(model32, torch.float32)


def card_of(model: HyperspectralForwardModel, scans: ScanBatch, **methods: Any) -> dict[str, float]:
    """The numbers of a card on the first scan, which has a tumour."""
    rows = [ScanBatch(*(column[0] for column in scans))]
    data: Any = SimpleNamespace(
        system=SimpleNamespace(forward_model=lambda windows: model),
        windows=None,
        folder="data",
        scans=lambda split: rows,
        windowed=lambda split: rows,
    )
    conditions = Conditions((1.0,), {}, 0, 0)
    card = ReportCard({}, data, conditions, {name: partial(_of, method) for name, method in methods.items()})
    return card.evaluate(
        lambda title, calls: [getattr(card, name)(*given) for name, given in calls]
    ).numbers()


def _of(method: Any, model: HyperspectralForwardModel) -> Any:
    return method(model) if isinstance(method, partial) else method


@pytest.fixture(autouse=True)
def small_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    """One voxel: the body of these scans has no room for more."""
    monkeypatch.setattr(report_card, "LESION_MM", 1.0)


def test_what_is_learned_by_heart_fails_where_it_must(
    model32: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """The truth for every count: no error and no deviance, but a new lesion is not seen (0), a removed one
    stays (1), and doubled counts leave the image as it is (1/2)."""
    found = card_of(model32, scans, learned=Learned(scans.activity[:1]))
    assert found["card/deviance/learned"] == pytest.approx(1.0)
    assert found["card/unseen_lesion/learned"] == 0.0
    assert found["card/removed_lesion/learned"] == pytest.approx(1.0, abs=1e-5)
    assert found["card/scale/learned"] == pytest.approx(0.5)
    passed = {line.name for line in LINES if found.get(f"card/{line.name}/learned/pass")}
    assert passed <= {"deviance", "counts", "empty_scan"}
    assert {"unseen_lesion", "removed_lesion", "scale"}.isdisjoint(passed)


def test_activity_that_is_not_proportional_is_told(
    model32: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """Four times the activity from twice the counts: the image over counts changes by its own size (1)."""
    assert card_of(model32, scans, squared=Squared())["card/scale/squared"] == pytest.approx(1.0, rel=1e-5)


def test_em_of_many_iterations_sees_what_is_there(
    model32: HyperspectralForwardModel, scans: ScanBatch
) -> None:
    """OSEM: proportional, unbiased enough to see a new lesion and to lose a removed one (a quarter)."""
    longer = scans._replace(duration_s=400 * scans.duration_s)
    found = card_of(model32, longer, osem=partial(Osem, iterations=60, subsets=2))
    assert found["card/scale/osem"] < 0.3
    assert found["card/unseen_lesion/osem"] == pytest.approx(1.0, abs=0.5)
    assert abs(found["card/removed_lesion/osem"]) < 0.25


def test_a_card_without_methods_is_refused(model32: HyperspectralForwardModel, scans: ScanBatch) -> None:
    with pytest.raises(UserError, match="a report card needs a method"):
        card_of(model32, scans)
