"""A task: the total activity of each map straight from the counts, without an image."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from data_gen import ImagingSystem
from hspi_learn.losses import Loss
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Inputs, Task, Watched, Windows, seeded_network


class TotalActivity(Task):
    """Training, validation, losses, checkpoints, evaluation and attacks all come with ``Task``."""

    watched = Watched("val/relative_error", "min")

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        losses: Mapping[str, Loss] | None = None,
        features: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(system, windows_kev, losses, seed=seed)
        windows, maps = self.windows.count, len(system.groups.names)

        def make() -> nn.Module:
            return nn.Sequential(nn.Linear(windows, features), nn.ReLU(), nn.Linear(features, maps))

        self.network = seeded_network(make, seed)

    def inputs(self, batch: ScanBatch) -> Inputs:
        """Counts [batch, pixel, window], which an attack may change, and the scan time, which it may not."""
        return Inputs(batch.projections, "counts", batch.duration_s)

    def predict(self, inputs: Inputs) -> Tensor:
        """Total activity [batch, map] in Bq."""
        rates_cps = inputs.values.sum(dim=1) / inputs.context[:, None]
        return torch.exp(self.network(torch.log1p(rates_cps)) + 8)  # before training about e^8 = 3,000 Bq

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        """Error of the logarithm [batch], mean over maps: what is trained on, and what an attack raises."""
        return (prediction.log() - self.truth_bq(batch).clamp_min(1).log()).abs().mean(dim=1)

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        """Figures of merit by name, each [batch]."""
        true_bq = self.truth_bq(batch)
        return {"relative_error": ((prediction - true_bq).abs() / true_bq.clamp_min(1)).mean(dim=1)}

    @staticmethod
    def truth_bq(batch: ScanBatch) -> Tensor:
        """Total activity [batch, map] in Bq."""
        return batch.activity.sum(dim=(2, 3, 4))
