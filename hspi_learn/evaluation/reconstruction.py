"""Comparison of reconstructions (Bq per voxel): organs, tumours, true maps, and tuned classical methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.judge import Judge, joined_columns
from hspi_learn.evaluation.study import Conditions, Method, Outcome, joined_fields, run_case
from hspi_learn.reconstructor import Reconstructor, ScanBatch

UNATTACKED = ("mean_image",)
"""Methods that no attack is run on, since they do not look at where the counts came from."""


class Tuned(NamedTuple):
    """What the tuning of a classical method chose."""

    settings: Mapping[str, float]
    told: str
    """Its main settings in words."""
    at_edge: bool
    """Whether a choice lies at the end of what was tried, so that more might be better."""


_TRUTHS = ("truth_regions", "truth_lesions", "lesion_mm3", "truths", "density")


@dataclass
class ReconstructionOutcome(Outcome):
    """What a study of reconstructions found; predictions are [mouse, map, z, y, x] in Bq per voxel.

    Args:
        truth_regions: true mean of each organ in Bq/mL, [mouse, map, organ].
        truth_lesions: true mean of each tumour in Bq/mL, [mouse, map, lesion]; NaN where there is none.
        lesion_mm3: volume of each tumour, [mouse, lesion].
        truths: true activity [mouse, map, z, y, x] in Bq per voxel.
        density: [mouse, z, y, x] in g/cm3.
    """

    truth_regions: Tensor
    truth_lesions: Tensor
    lesion_mm3: Tensor
    truths: Tensor
    density: Tensor

    @property
    def truth(self) -> tuple[Tensor, ...]:
        """What is known of the mice, mouse first."""
        return tuple(getattr(self, name) for name in _TRUTHS)

    @classmethod
    def joined(cls, parts: Sequence[ReconstructionOutcome]) -> ReconstructionOutcome:  # type: ignore[override]
        """See :meth:`Outcome.joined`."""
        columns = joined_columns([part.truth for part in parts])
        truths: dict[str, Any] = dict(zip(_TRUTHS, columns, strict=True))
        return cls(
            **joined_fields(parts),
            **truths,
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
        return ReconstructionOutcome(
            **vars(found),
            truth_regions=self.judge.regions(batch.activity, case),
            truth_lesions=self.judge.lesions(batch.activity, case),
            lesion_mm3=self.judge.lesion_mm3(case),
            truths=batch.activity,
            density=batch.density,
        )


def reconstruction_method(name: str, method: Reconstructor) -> Method:
    """A reconstructor as what a study compares."""
    return Method(
        lambda inputs: method.reconstruct(inputs.values, inputs.context),
        method if isinstance(method, nn.Module) else None,
        name not in UNATTACKED,
    )
