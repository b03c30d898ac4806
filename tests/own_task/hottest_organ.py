"""A small task of the tests: which organ is the hottest, told from the counts without an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from data_gen import ImagingSystem
from data_gen.phantoms import ORGANS
from hspi_learn.losses import Loss
from hspi_learn.metrics import regional_means
from hspi_learn.reconstructor import ScanBatch
from hspi_learn.tasks import Inputs, Task, Watched, Windows, seeded_network


class HottestOrgan(Task):
    """Classifies the organ of highest mean concentration, all maps together."""

    watched = Watched("val/correct", "max")
    higher_is_better = frozenset({"correct"})

    def __init__(
        self,
        system: ImagingSystem,
        windows_kev: Windows,
        losses: Mapping[str, Loss] | None = None,
        optimizer: Callable[[Any], torch.optim.Optimizer] = torch.optim.Adam,
        schedule: Callable[[Any, int], Any] | None = None,
        pools: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(system, windows_kev, losses, optimizer, schedule, seed)
        self.pools, features = pools, pools * self.windows.count
        self.network = seeded_network(partial(_network, features, len(ORGANS)), seed)

    def inputs(self, batch: ScanBatch) -> Inputs:
        return Inputs(batch.projections, "counts", batch.duration_s)

    def predict(self, inputs: Inputs) -> Tensor:
        """Logits [batch, organ]."""
        rates = inputs.values.transpose(1, 2) / inputs.context[:, None, None]
        pooled = functional.adaptive_avg_pool1d(rates, self.pools).flatten(1)
        logits: Tensor = self.network(torch.log1p(100 * pooled))
        return logits

    def per_sample_loss(self, prediction: Tensor, batch: ScanBatch) -> Tensor:
        return functional.cross_entropy(prediction, hottest(batch), reduction="none")

    def scores(self, prediction: Tensor, batch: ScanBatch) -> dict[str, Tensor]:
        right = prediction.argmax(dim=1) == hottest(batch)
        return {"correct": right.float(), "cross_entropy": self.per_sample_loss(prediction, batch)}

    def figures(self, batch: ScanBatch) -> Iterator[tuple[str, Figure]]:
        figure = Figure()
        figure.subplots().bar(ORGANS, self.predict_batch(batch)[0].softmax(0).detach().numpy())
        yield "probabilities", figure


class Confidence(Loss):
    """Penalises sure answers: minus the entropy of the prediction, one number a sample."""

    def forward(self, prediction: Tensor, batch: ScanBatch, view: Inputs) -> Tensor:
        return -torch.distributions.Categorical(logits=prediction).entropy()


def hottest(batch: ScanBatch) -> Tensor:
    """Label of the hottest organ [batch]."""
    means = regional_means(batch.activity, batch.labels, len(ORGANS)).sum(dim=1)
    means[:, 0] = torch.nan  # what lies outside the body is no organ
    return means.nan_to_num(nan=-1.0).argmax(dim=1)


def _network(features: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, classes))
