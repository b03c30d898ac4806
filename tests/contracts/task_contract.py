"""What every task must hold to; a task passes it for free by deriving from :class:`hspi_learn.tasks.Task`."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from data_gen.forward_model.model import HyperspectralForwardModel
from data_gen.phantoms import ORGANS
from hspi_learn.attacks import PoissonBall, ProjectedGradient
from hspi_learn.data import EpochOrder, ResumableDataModule, TrainingLoader, collate
from hspi_learn.losses import FunctionLoss
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Task

SCANS = 6
WINDOWS_KEV = [60.0, 150.0, 300.0, 500.0]


class Scans(ResumableDataModule):
    """Six scans in batches of two, trained on in the order of (seed, epoch), as ScanDataModule does."""

    def __init__(self, scans: ScanBatch) -> None:
        super().__init__()
        self.rows: Any = [ScanBatch(*(column[i] for column in scans)) for i in range(len(scans.index))]

    def train_dataloader(self) -> TrainingLoader:
        return self.resumable(TrainingLoader(self.rows, EpochOrder(len(self.rows), seed=1), batch_size=2))

    def val_dataloader(self) -> DataLoader[ScanBatch]:
        return DataLoader(self.rows, batch_size=2, collate_fn=collate)

    test_dataloader = predict_dataloader = val_dataloader


class Killed(Callback):
    """Stops a training between two updates as a kill would: with an exception."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError


def system_of(model: HyperspectralForwardModel) -> Any:
    """What a task needs of an imaging system, around a forward model."""
    return SimpleNamespace(
        groups=model.groups, camera=model.camera, forward_model=lambda windows: model, live=None
    )


def scans_of(model: HyperspectralForwardModel, dtype: torch.dtype) -> ScanBatch:
    """Noisy scans of a warm body with a liver and, in every other one, a tumour."""
    generator = torch.Generator().manual_seed(0)
    shape = model.grid.shape
    density = torch.zeros(SCANS, *shape, dtype=dtype)
    density[:, 1:-1, 1:-1, 1:-1] = 1.0
    labels = density.long()
    labels[:, 1:3, 2, 2] = ORGANS.index("liver")
    labels[::2, 1:3, 3, 4] = ORGANS.index("tumour")
    activity = density[:, None] * (1 + torch.rand(SCANS, 2, *shape, generator=generator).to(dtype))
    activity = torch.where((labels == ORGANS.index("liver"))[:, None], 5 * activity, activity)
    activity = torch.where((labels == ORGANS.index("tumour"))[:, None], 20 * activity, activity)
    duration = torch.full((SCANS,), 200.0, dtype=dtype)
    expected = model.expected_counts(activity, model.attenuation(density), duration)
    counts = torch.poisson(expected, generator=generator)
    return ScanBatch(counts, duration, density, activity, labels, torch.arange(SCANS))


def trainer_of(folder: Path, callbacks: list[Callback], **settings: Any) -> Trainer:
    """A plain trainer that writes CSV and keeps quiet."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=CSVLogger(folder),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=folder,
        **{"enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks), **settings},
    )


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _rows(folder: Path) -> list[dict[str, str]]:
    (file,) = folder.rglob("metrics.csv")
    with file.open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec:FutureWarning",
    "ignore:Using ModelCheckpoint with manual optimization",
    "ignore:Checkpoint directory .* exists and is not empty",
)
class TaskContract:
    """Subclasses define ``make(system, **changes)``, a task with random, working weights."""

    accumulation: tuple[dict[str, Any], dict[str, Any]] = ({}, {"accumulate_grad_batches": 3})
    """Arguments of the task and of the trainer that make three batches one update."""

    def make(self, system: Any, **changes: Any) -> Task:
        raise NotImplementedError

    @pytest.fixture
    def scans(self, model32: HyperspectralForwardModel) -> ScanBatch:
        return scans_of(model32, torch.float32)

    @pytest.fixture
    def task(self, model32: HyperspectralForwardModel) -> Task:
        return self.make(system_of(model32)).eval()

    # What a task says of itself.

    def test_predictions_are_of_one_sample_each(self, task: Task, scans: ScanBatch) -> None:
        """One prediction, loss and score a sample, the same alone and among others (1e-5)."""
        with torch.no_grad():
            whole = task.predict(task.inputs(scans))
            second = ScanBatch(*(column[1:2] for column in scans))
            alone = task.predict(task.inputs(second))
            assert len(whole) == SCANS
            torch.testing.assert_close(alone, whole[1:2], rtol=1e-5, atol=1e-5)
            losses = task.per_sample_loss(whole, scans)
            assert losses.shape == (SCANS,)
            torch.testing.assert_close(task.per_sample_loss(alone, second), losses[1:2], rtol=1e-4, atol=1e-5)
            scores = task.scores(whole, scans)
            assert all(values.shape == (SCANS,) for values in scores.values())
            for name, values in task.scores(alone, second).items():
                torch.testing.assert_close(values, scores[name][1:2], rtol=1e-4, atol=1e-5, equal_nan=True)

    def test_what_it_watches_is_a_score(self, task: Task, scans: ScanBatch) -> None:
        """The watched metric is logged in validation, and its direction is that of the score."""
        with torch.no_grad():
            scores = task.scores(task.predict_batch(scans), scans)
        stage, _, score = task.watched.metric.partition("/")
        assert stage == "val"
        assert score in scores
        assert task.watched.direction == ("max" if score in task.higher_is_better else "min")
        assert task.higher_is_better <= scores.keys()

    def test_a_failed_prediction_is_infinitely_wrong(
        self, task: Task, scans: ScanBatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NaN in one prediction: that sample has the worst watched score there is, the others keep theirs."""
        with torch.no_grad():
            prediction = task.predict_batch(scans)
        _, _, score = task.watched.metric.partition("/")
        usual = task.scores(prediction, scans)[score].float()
        wrong = prediction.clone()
        wrong[1].view(-1)[0] = torch.nan
        monkeypatch.setattr(task, "predict_batch", lambda _: wrong)
        task.validation_step(scans, 0)
        collected: Any = task._collected[f"val_{score}"]
        (found,) = collected.samples
        assert found[1] == (-torch.inf if score in task.higher_is_better else torch.inf)
        torch.testing.assert_close(found[2:], usual[2:], equal_nan=True)

    def test_batch_as_it_is_gives_the_same_prediction(self, task: Task, scans: ScanBatch) -> None:
        """The faster way to a prediction, if there is one, leads to the same (1e-5)."""
        with torch.no_grad():
            usual, fast = task.predict(task.inputs(scans)), task.predict_batch(scans)
        torch.testing.assert_close(fast, usual, rtol=1e-5, atol=1e-5)

    def test_gradient_in_inputs_is_true(self, model64: HyperspectralForwardModel) -> None:
        """An attack sees the slope that finite differences see, 1e-3 along the gradient, in float64."""
        task, scans = self.make(system_of(model64)).double().eval(), scans_of(model64, torch.float64)
        scans = scans._replace(projections=scans.projections + 1.0)  # away from 0, where maps are held
        inputs = task.inputs(scans)

        def value(at: Tensor) -> Tensor:
            return task.per_sample_loss(task.predict(inputs._replace(values=at)), scans).sum()

        start = inputs.values.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(start), start)
        assert bool((gradient != 0).flatten(1).any(dim=1).all())
        direction = gradient / gradient.norm()
        with torch.no_grad():
            up, down = (value(inputs.values + step * direction) for step in (1e-4, -1e-4))
        assert float((up - down) / 2e-4) == pytest.approx(float(gradient.norm()), rel=1e-3)

    def test_expectation_has_the_shape_of_the_values(self, task: Task, scans: ScanBatch) -> None:
        """Where the task knows it, the mean of the counts is that of noisy ones within five percent."""
        inputs, expected = task.inputs(scans), task.expected(scans)
        if expected is not None:
            assert expected.shape == inputs.values.shape
            assert float(expected.sum()) == pytest.approx(float(inputs.values.sum()), rel=0.05)

    def test_figures_are_named_and_leave_chance_alone(self, task: Task, scans: ScanBatch) -> None:
        """Every picture has a name of its own."""
        state = torch.get_rng_state()
        with torch.no_grad():
            figures = dict(task.figures(scans))
        assert all(isinstance(figure, Figure) and name for name, figure in figures.items())
        assert torch.equal(state, torch.get_rng_state())

    # Under attack.

    def test_attack_raises_the_loss_and_leaves_no_trace(self, task: Task, scans: ScanBatch) -> None:
        """In no_grad, from train mode: weights, buffers, .grad, random state and modes are as before."""
        task.train()
        before = {name: value.clone() for name, value in task.state_dict().items()}
        modes = [part.training for part in task.modules()]
        state = torch.get_rng_state()
        with torch.no_grad():
            inputs = task.inputs(scans)
            found = ProjectedGradient(steps=3).attack(
                lambda values: task.per_sample_loss(task.predict(inputs._replace(values=values)), scans),
                inputs.values,
                PoissonBall(5.0),
                task.expected(scans),
                task,
            )
        assert float(found.value.sum()) > float(found.clean_value.sum())
        assert not bool(found.masked.all())
        assert same(before, task.state_dict())
        assert all(parameter.grad is None for parameter in task.parameters())
        assert modes == [part.training for part in task.modules()]
        assert torch.equal(state, torch.get_rng_state())

    # Trained by plain Lightning.

    def test_standard_callbacks(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Two epochs with early stopping, learning-rate monitor and checkpoints; then the other loops."""
        task, data = self.make(system_of(model32)), Scans(scans)
        metric, direction = task.watched
        checkpoints = ModelCheckpoint(tmp_path / "kept", monitor=metric, mode=direction)
        callbacks = [EarlyStopping(metric, mode=direction), LearningRateMonitor("step"), checkpoints]
        trainer = trainer_of(tmp_path, callbacks, max_epochs=2)
        trainer.fit(task, datamodule=data)
        assert trainer.global_step == 6
        assert Path(checkpoints.best_model_path).is_file()
        assert any(name.startswith("lr-") and row[name] for row in _rows(tmp_path) for name in row)
        (validated,) = trainer.validate(task, datamodule=data, verbose=False)
        assert metric in validated
        (tested,) = trainer.test(task, datamodule=data, verbose=False)
        assert tested[metric.replace("val/", "test/")] == pytest.approx(validated[metric])
        predicted = trainer.predict(task, datamodule=data)
        assert predicted is not None
        assert sum(len(prediction) for prediction in predicted) == SCANS

    def test_losses_come_from_a_mapping(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """A loss of one's own is trained on in the updates that are its, and logged by its name."""
        seen: list[int] = []
        task = self.make(system_of(model32))

        def own(prediction: Tensor, batch: ScanBatch) -> Tensor:
            seen.append(len(prediction))
            return task.per_sample_loss(prediction, batch)

        task = self.make(system_of(model32), losses={"own": FunctionLoss(own, 2.0, from_step=1, every=2)})
        before = {name: value.clone() for name, value in task.state_dict().items()}
        trainer_of(tmp_path, [], max_steps=3).fit(task, datamodule=Scans(scans))
        assert seen == [2]  # of updates 0, 1, 2 the last
        assert not same(before, task.state_dict())
        assert sum(bool(row.get("train/own")) for row in _rows(tmp_path)) == len(seen)

    def test_batches_are_accumulated(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path
    ) -> None:
        """Three batches an update: one update an epoch."""
        of_task, of_trainer = self.accumulation
        trainer = trainer_of(tmp_path, [], max_epochs=2, **of_trainer)
        trainer.fit(self.make(system_of(model32), **of_task), datamodule=Scans(scans))
        assert trainer.global_step == 2

    @pytest.mark.parametrize("cut", [2, 4])
    def test_resumes_in_mid_epoch_to_the_same_bits(
        self, model32: HyperspectralForwardModel, scans: ScanBatch, tmp_path: Path, cut: int
    ) -> None:
        """Killed after an update in the middle of an epoch of three, and resumed in a fresh task from what
        a plain ModelCheckpoint kept: weights and optimisers end as those of an undisturbed training."""

        def fit(name: str, *others: Callback, resume: Path | None = None) -> Trainer:
            torch.manual_seed(7 if resume is None else 8)
            kept = ModelCheckpoint(tmp_path / name, every_n_train_steps=1, save_top_k=-1, filename="{step}")
            trainer = trainer_of(tmp_path / name, [kept, *others], max_epochs=2)
            with contextlib.suppress(InterruptedError):
                trainer.fit(
                    self.make(system_of(model32)),
                    datamodule=Scans(scans),
                    ckpt_path=resume,
                    weights_only=True,
                )
            return trainer

        whole = fit("whole")
        fit("part", Killed(cut))
        resumed = fit("part", resume=tmp_path / "part" / f"step={cut}.ckpt")
        assert whole.global_step == resumed.global_step == 6
        assert same(whole.lightning_module.state_dict(), resumed.lightning_module.state_dict())
