"""Comparison of reconstructions (Bq per voxel): organs, tumours, true maps, and tuned classical methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.judge import Judge
from hspi_learn.evaluation.study import Conditions, Method, Outcome, joined_fields, run_case
from hspi_learn.reconstructor import Reconstructor, ScanBatch

UNATTACKED = ("mean_image",)
"""Methods that no attack is run on, since they do not look at where the counts came from."""


class Tuned(NamedTuple):
    """What the tuning of a classical method chose."""

    iterations: int
    subsets: int
    postfilter_fwhm_mm: float
    at_edge: bool
    """Whether a choice lies at the end of what was tried, so that more might be better."""


@dataclass
class ReconstructionOutcome(Outcome):
    """What a study of reconstructions found; predictions are [mouse, map, z, y, x] in Bq per voxel.

    Args:
        truth_regions: true mean of each organ in Bq/mL, [mouse, map, organ].
        truths: true activity [mouse, map, z, y, x] in Bq per voxel.
        density: [mouse, z, y, x] in g/cm3.
    """

    truth_regions: Tensor
    truths: Tensor
    density: Tensor

    @classmethod
    def joined(cls, parts: Sequence[ReconstructionOutcome]) -> ReconstructionOutcome:  # type: ignore[override]
        """See :meth:`Outcome.joined`."""
        return cls(
            **joined_fields(parts),
            truth_regions=torch.cat([part.truth_regions for part in parts]),
            truths=torch.cat([part.truths for part in parts]),
            density=torch.cat([part.density for part in parts]),
        )


@dataclass(frozen=True)
class ReconstructionStudy:
    """Reconstructions compared on scans.

    Args:
        model: forward model of the windows that every method is given.
        judge: gives the metrics of a reconstruction.
        methods: at each count level, methods by name; a classical method may be tuned to the level.
        conditions: how the scans are shown.
    """

    model: HyperspectralForwardModel
    judge: Judge
    methods: Mapping[float, Mapping[str, Reconstructor]]
    conditions: Conditions = field(default_factory=Conditions)

    def run(self, scans: Iterable[ScanBatch]) -> ReconstructionOutcome:
        """All methods under all conditions on these scans, a batch at a time."""
        return ReconstructionOutcome.joined([self.run_batch(batch) for batch in scans])

    def run_batch(self, batch: ScanBatch) -> ReconstructionOutcome:
        """All methods under all conditions on one batch."""
        case = ReconstructionCase.of(self.model, batch)
        methods = {
            fraction: {name: reconstruction_method(name, method) for name, method in by_name.items()}
            for fraction, by_name in self.methods.items()
        }
        found = run_case(case, methods, self.conditions, self.judge.scores)
        regions = self.judge.regions(batch.activity, case)
        return ReconstructionOutcome(
            found.scores, found.attacked, found.predictions, regions, batch.activity, batch.density
        )


def reconstruction_method(name: str, method: Reconstructor) -> Method:
    """A reconstructor as what a study compares."""
    return Method(
        lambda inputs: method.reconstruct(inputs.values, inputs.context),
        method if isinstance(method, nn.Module) else None,
        name not in UNATTACKED,
    )
