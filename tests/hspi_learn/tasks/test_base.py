"""What every task inherits: scores over samples, the default loss and optimiser, schedules, random states.

The task multiplies numbers by one weight, 2 at first, and should give 3 times the number.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data_gen.core.errors import UserError
from hspi_learn.tasks import Inputs, Task, Watched, seeded_network

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec:FutureWarning", "ignore:.*no `val_dataloader`"
)


class Numbers(Task):
    watched = Watched("val/error", "min")
    higher_is_better = frozenset({"gain"})

    def __init__(self, **settings: Any) -> None:
        system: Any = SimpleNamespace()
        super().__init__(system, [60.0, 150.0], **settings)
        self.weight = nn.Parameter(torch.tensor(2.0))

    def inputs(self, batch: Tensor) -> Inputs:
        return Inputs(batch, "features")

    def predict(self, inputs: Inputs) -> Tensor:
        return self.weight * inputs.values

    def per_sample_loss(self, prediction: Tensor, batch: Tensor) -> Tensor:
        return (prediction - 3 * batch).square()

    def scores(self, prediction: Tensor, batch: Tensor) -> dict[str, Tensor]:
        """``spread`` is known of numbers above 2 alone."""
        return {
            "error": (prediction - 3 * batch).abs(),
            "gain": prediction,
            "spread": torch.where(batch > 2, batch, torch.nan),
        }


class Median(Numbers):
    reduction = "median"


class Worst(Numbers):
    reduction = "worst"


def loaded(*batches: list[float]) -> DataLoader[Tensor]:
    """Batches of numbers as they stand."""
    rows: Any = [torch.tensor(batch) for batch in batches]
    return DataLoader(rows, batch_size=None)


def trainer_of(folder: Path, **limits: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **limits,
    )


@pytest.mark.parametrize(
    ("kind", "error", "gain", "spread"),
    [(Numbers, 3.75, 7.5, 6.0), (Median, 3.0, 6.0, 6.0), (Worst, 8.0, 16.0, 8.0)],
)
def test_scores_are_over_samples_of_all_batches(
    kind: type[Numbers], error: float, gain: float, spread: float, tmp_path: Path
) -> None:
    """Numbers 1, 2, 4 in one batch and 8 in another are wrong by as much: mean 3.75, median 3, worst 8. A
    sample without a score does not count. Of stages and epochs each starts anew."""
    task, trainer = kind(), trainer_of(tmp_path)
    for stage, run in (("val", trainer.validate), ("test", trainer.test), ("val", trainer.validate)):
        (found,) = run(task, loaded([1.0, 2.0, 4.0], [8.0]), verbose=False)
        assert found == {f"{stage}/error": error, f"{stage}/gain": gain, f"{stage}/spread": spread}
    (found,) = trainer.validate(task, loaded([10.0]), verbose=False)
    assert found == {"val/error": 10.0, "val/gain": 20.0, "val/spread": 10.0}


def test_a_failed_sample_is_infinitely_bad_in_every_score(tmp_path: Path) -> None:
    """One of three predictions is infinite: the mean error is infinite, the mean of what should be high is
    minus infinity; the median of each is that of a worst third sample."""
    numbers = loaded([1.0, torch.inf], [2.0])
    (found,) = trainer_of(tmp_path).validate(Numbers(), numbers, verbose=False)
    assert (found["val/error"], found["val/gain"]) == (torch.inf, -torch.inf)
    (found,) = trainer_of(tmp_path).validate(Median(), numbers, verbose=False)
    assert (found["val/error"], found["val/gain"]) == (2.0, 2.0)


def test_a_step_by_default(tmp_path: Path) -> None:
    """Mean of (2 n - 3 n)^2 over 1, 2, 4 is 7; the first step of Adam is its rate, 0.001, down the slope, and
    without a schedule the rate stays."""
    task, trainer = Numbers(), trainer_of(tmp_path, max_steps=1)
    trainer.fit(task, loaded([1.0, 2.0, 4.0]))
    assert float(trainer.callback_metrics["train/loss"]) == 7.0
    assert task.weight.item() == pytest.approx(2.001, abs=1e-6)
    assert trainer.lr_scheduler_configs == []
    predicted: Any = trainer.predict(task, loaded([10.0]))
    assert predicted[0].tolist() == pytest.approx([20.01], rel=1e-6)


def test_a_schedule_is_told_the_updates_and_stepped_once_in_each(tmp_path: Path) -> None:
    """Three batches, two epochs: six updates, after which rates that halve each time stand at 1/64."""
    told: list[int] = []

    def halving(optimizer: torch.optim.Optimizer, updates: int) -> torch.optim.lr_scheduler.LRScheduler:
        told.append(updates)
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    task, trainer = Numbers(schedule=halving), trainer_of(tmp_path, max_epochs=2)
    trainer.fit(task, loaded([1.0], [2.0], [3.0]))
    assert told == [6]
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 / 64)


def test_only_what_asks_for_a_gradient_is_trained() -> None:
    task = Numbers()
    task.kept = nn.Parameter(torch.ones(2), requires_grad=False)
    assert task.trained_parameters() == [task.weight]


def test_random_states_come_back_with_the_first_batch() -> None:
    """What was drawn after a checkpoint is drawn again after it is loaded, though the start of the data
    loaders drew in between; later batches go on drawing."""
    task, checkpoint = Numbers(), dict[str, Any]()
    torch.manual_seed(3)
    task.on_save_checkpoint(checkpoint)
    wanted = [torch.rand(()).item() for _ in range(2)]
    task = Numbers()
    task.on_load_checkpoint(checkpoint)
    torch.rand(5)
    found = []
    for batch in range(2):
        task.on_train_batch_start(None, batch)
        found.append(torch.rand(()).item())
    assert found == wanted


def test_a_checkpoint_without_random_states_is_refused() -> None:
    with pytest.raises(UserError, match="the checkpoint to resume from lacks the random generators"):
        Numbers().on_load_checkpoint({"state_dict": {}})


def test_first_weights_are_of_their_seed_alone() -> None:
    """Those that torch draws after manual_seed; the generator of all others goes on as if nothing was."""
    torch.manual_seed(5)
    wanted = nn.Linear(3, 2).weight
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(seeded_network(lambda: nn.Linear(3, 2), 5).weight, wanted)
    assert torch.equal(torch.rand(1), before)
