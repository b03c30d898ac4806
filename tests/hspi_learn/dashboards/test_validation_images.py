"""Pictures of a task are drawn as it predicts: in evaluation mode, whatever mode training left it in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from hspi_learn.dashboards.validation_images import drawn, keep_figures
from hspi_learn.io.run_folder import RunFolder


class Drawing(nn.Module):
    """A task with dropout and batch statistics, which draws what it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(8))
        self.predicted: list[Tensor] = []

    def figures(self, batch: Any) -> Iterator[tuple[str, Figure]]:
        for name in ("first", "second"):
            self.predicted.append(self.layers(batch))
            figure = Figure()
            figure.subplots().plot(self.predicted[-1][0].numpy())
            yield name, figure


def test_pictures_are_of_what_evaluation_sees(tmp_path: Path) -> None:
    """The kept pictures are those of ``eval()``, and the task's modes, statistics and chance stay."""
    task, sample = Drawing().train(), torch.ones(4, 8)
    task.layers[1].eval()  # a part that is frozen stays so
    before = {name: value.clone() for name, value in task.state_dict().items()}
    modes, chance = [part.training for part in task.modules()], torch.get_rng_state()
    keep_figures(RunFolder(tmp_path), task, sample, [])
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [
        "validation_first.png",
        "validation_second.png",
    ]
    with torch.no_grad():
        expected = task.eval().layers(sample)
    assert all(torch.equal(found, expected) for found in task.predicted)
    task.train()
    task.layers[1].eval()
    assert [part.training for part in task.modules()] == modes
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_modes_come_back_after_a_failure() -> None:
    """A picture that cannot be drawn leaves the task in training mode, as it was."""
    task = Drawing().train()
    try:
        drawn(task, torch.ones(4, 9))
    except (RuntimeError, ValueError):
        assert all(part.training for part in task.modules())
    else:
        raise AssertionError("nine features fit eight")


def test_first_pictures_alone() -> None:
    """``most`` draws no more than it keeps."""
    task = Drawing()
    assert [name for name, _ in drawn(task, torch.ones(4, 8), most=1)] == ["first"]
    assert len(task.predicted) == 1
