"""A search on functions whose best point is known, gone on with after a stop; spaces that make no sense."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from data_gen.core.errors import UserError
from hspi_learn.tuning import OneOf, Place, Pruned, Range, ReportValidation, Search, SearchPlan, read_space

SPACE = {"a": {"low": -4.0, "high": 6.0}, "b": [1, 2, 3], "c": [[1, 2], [3, 4]]}
PRESENT = {"a": 5.0, "b": 3, "c": [1, 2]}


def _value(settings: dict[str, Any]) -> float:
    """Lowest, 0, at a = 1, b = 2, c = [3, 4]."""
    return (settings["a"] - 1) ** 2 + abs(settings["b"] - 2) + (settings["c"] != [3, 4])


def _searched(folder: Path, plan: SearchPlan, stop_after: int = 1000) -> Search:
    """A search that is gone on with until it has its trials, or stops in the midst of one."""
    search = Search(folder, plan, "min")
    for trial in search.trials:
        if trial.state == "running":
            search.place(trial.number).finish(_value(trial.settings))
    while len(search.trials) < plan.trials:
        place, settings = search.propose(PRESENT)
        if len(search.trials) == stop_after:
            break
        place.finish(_value(settings))
    return search


def test_the_best_point_is_found(tmp_path: Path) -> None:
    """Thirty trials: both choices right, and a within 1.5 of where it is best (random: 5 trials in 100)."""
    search = _searched(tmp_path, SearchPlan(SPACE, trials=30))
    best = search.best
    assert best is not None
    assert best.settings["b"] == 2
    assert best.settings["c"] == [3, 4]
    assert abs(best.settings["a"] - 1) < 1.5
    assert best.value == pytest.approx(_value(best.settings))
    assert best.value == min(trial.value for trial in search.trials)
    assert search.trials[0].settings == PRESENT


def test_a_stopped_search_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    """Stopped in the midst of trial 5 of 12: settings and values of all trials as without the stop."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    plan = SearchPlan(SPACE, trials=12, seed=4)
    whole = _searched(tmp_path / "whole", plan).trials
    stopped = _searched(tmp_path / "stopped", plan, stop_after=5).trials
    assert [trial.state for trial in stopped] == ["finished"] * 4 + ["running"]
    again = _searched(tmp_path / "stopped", plan).trials
    assert [(t.settings, t.value) for t in again] == [(t.settings, t.value) for t in whole]
    other = tmp_path / "other"
    other.mkdir()
    assert [t.settings for t in _searched(other, SearchPlan(SPACE, trials=12, seed=5)).trials] != [
        t.settings for t in whole
    ]


def test_the_highest_is_best_where_it_is_asked_for(tmp_path: Path) -> None:
    search = Search(tmp_path, SearchPlan({"a": [1, 2, 3]}, trials=3), "max")
    for value in (1.0, 3.0, 2.0):
        place, _ = search.propose({"a": 1})
        place.finish(value)
    assert search.best is not None
    assert search.best.value == 3.0


def test_a_trial_worse_than_the_median_is_given_up(tmp_path: Path) -> None:
    """Three good trials of value 1; the fourth reports 2 at the same step. Without pruning it goes on."""
    for prune in (True, False):
        folder = tmp_path / str(prune)
        folder.mkdir()
        search = Search(folder, SearchPlan({"a": [1, 2, 3]}, trials=5, prune=prune), "min")
        for _ in range(3):
            place, _ = search.propose({"a": 1})
            place.report(1.0, 10)
            place.finish(1.0)
        place, _ = search.propose({"a": 1})
        if prune:
            with pytest.raises(Pruned):
                place.report(2.0, 10)
            place.give_up()
        else:
            place.report(2.0, 10)
            place.finish(2.0)
        assert search.trials[3].state == ("pruned" if prune else "finished")
        assert math.isnan(search.trials[3].value) == prune


def test_a_failure_is_told_and_never_best(tmp_path: Path) -> None:
    search = Search(tmp_path, SearchPlan({"a": [1, 2]}, trials=2), "min")
    place, _ = search.propose({"a": 1})
    Place(*place).give_up("no memory")
    assert search.best is None
    assert (search.trials[0].state, search.trials[0].told) == ("failed", "no memory")


def test_edges_are_told(tmp_path: Path) -> None:
    """By hand: 5 % of a decade is 10^0.05 = 1.122; of three numbers the outer two; of words none."""
    span = Range(1e-3, 1e-2, log=True)
    assert [span.at_edge(v) for v in (1.1e-3, 1.2e-3, 8.8e-3, 9.0e-3)] == [True, False, False, True]
    assert [Range(0, 100).at_edge(v) for v in (0, 4, 5, 95, 96)] == [True, True, False, False, True]
    assert [OneOf((1, 2, 3)).at_edge(v) for v in (1, 2, 3)] == [True, False, True]
    assert not OneOf(("a", "b", "c")).at_edge("a")
    assert not OneOf((1, 2)).at_edge(1)


@pytest.mark.parametrize(
    "node",
    [
        [1],
        [1, 1],
        "abc",
        3,
        {"low": 2, "high": 1},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 0, "high": math.inf},
        {"low": 0, "high": 1, "step": 1},
        {"low": "0", "high": 1},
    ],
)
def test_spaces_that_make_no_sense(node: Any) -> None:
    with pytest.raises(UserError, match=r"search\.space\.lr is .*; it needs two or more different values"):
        read_space({"lr": node})


def test_a_search_needs_something_to_do() -> None:
    with pytest.raises(UserError, match=r"search\.space is empty"):
        SearchPlan({})
    with pytest.raises(UserError, match=r"search\.trials is 0"):
        SearchPlan({"a": [1, 2]}, trials=0)
    with pytest.raises(UserError, match=r"search\.side_by_side is 0"):
        SearchPlan({"a": [1, 2]}, side_by_side=0)


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    search = Search(tmp_path, SearchPlan({"n": {"low": 1, "high": 9}}, trials=4), "min")
    found = [search.propose({"n": 20})[1]["n"] for _ in range(4)]
    assert all(isinstance(n, int) and 1 <= n <= 9 for n in found)


class _Slope(pl.LightningModule):
    """Learns nothing; its validation metric is 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return self.weight * batch[0].mean()

    def validation_step(self, *_: Any) -> None:
        self.log("val/x", 2.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_training_is_given_up(tmp_path: Path) -> None:
    """Three trials of 1 at the first validation; a training that has 2 there ends, and is no failure."""
    search = Search(tmp_path, SearchPlan({"a": [1, 2, 3]}, trials=5), "min")
    for _ in range(3):
        place, _settings = search.propose({"a": 1})
        place.report(1.0, 2)
        place.finish(1.0)
    place, _settings = search.propose({"a": 1})
    loader = DataLoader(TensorDataset(torch.ones(2, 1)))
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ReportValidation(place, "val/x")],
    )
    with pytest.raises(Pruned):
        trainer.fit(_Slope(), loader, loader)
    assert trainer.global_step == 2
    place.give_up()
    assert search.trials[3].state == "pruned"
