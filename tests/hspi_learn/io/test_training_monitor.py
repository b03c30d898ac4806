"""The gradient norm and the rate of samples, by hand."""

import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from hspi_learn.io import training_monitor
from hspi_learn.io.training_monitor import TrainingMonitor


class Line(LightningModule):
    """The loss 3 a + 4 b has the gradient (3, 4) everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(2))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weights * torch.tensor([3.0, 4.0])).sum() + 0 * batch.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        Clock.now += 1000.0  # a validation that takes long

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.zeros(12, 1), batch_size=3)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(torch.zeros(1, 1))


class Clock:
    """Each look at it takes a quarter of a second."""

    now = 0.0

    @classmethod
    def perf_counter(cls) -> float:
        cls.now += 0.25
        return cls.now


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.*is deprecated")
def test_norm_before_clipping_and_rate_without_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norm 5 = |(3, 4)| though it is clipped to 1; 3 samples in 0.25 s are 12 a second."""
    monkeypatch.setattr(training_monitor, "time", Clock)
    logger = CSVLogger(tmp_path)
    trainer = Trainer(
        max_steps=8,
        accelerator="cpu",
        gradient_clip_val=1.0,
        log_every_n_steps=2,
        val_check_interval=2,
        logger=logger,
        callbacks=[TrainingMonitor()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Line())
    with (Path(logger.log_dir) / "metrics.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["train/gradient_norm"]]
    assert len(rows) == 4
    for row in rows:
        assert float(row["train/gradient_norm"]) == pytest.approx(5.0)
        assert float(row["train/samples_per_second"]) == pytest.approx(12.0)
