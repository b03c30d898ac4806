"""Comparison of reconstructions (Bq per voxel): organs, tumours, true maps, and tuned classical methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.classical import Oracle
from hspi_learn.evaluation.case import ReconstructionCase
from hspi_learn.evaluation.judge import Judge, joined_columns
from hspi_learn.evaluation.study import Conditions, Method, Outcome, joined_fields, run_case
from hspi_learn.reconstructor import Reconstructor, ScanBatch
from hspi_learn.visual import method_label

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
        oracles: methods that were told the true outlines; they are marked, and compared with none.
    """

    truth_regions: Tensor
    truth_lesions: Tensor
    lesion_mm3: Tensor
    truths: Tensor
    density: Tensor
    oracles: tuple[str, ...] = ()

    @property
    def competing(self) -> tuple[str, ...]:
        """See :attr:`Outcome.competing`; oracles are none."""
        return tuple(m for m in self.ranked if m not in self.oracles)

    def label(self, method: str) -> str:
        """See :meth:`Outcome.label`; oracles are marked."""
        return method_label(method) + (" (oracle)" if method in self.oracles else "")

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
            oracles=parts[0].oracles,
        )


@dataclass(frozen=True)
class ReconstructionStudy:
    """Reconstructions compared on scans.

    Args:
        model: forward model of the windows that every method is given.
        judge: gives the metrics of a reconstruction.
        methods: at each count level, methods by name; a classical method may be tuned to the level.
        conditions: how the scans are shown.
        oracles: methods by name that are told the true outlines; not attacked.
    """

    model: HyperspectralForwardModel
    judge: Judge
    methods: Mapping[float, Mapping[str, Reconstructor]]
    conditions: Conditions = field(default_factory=Conditions)
    oracles: Mapping[str, Oracle] = field(default_factory=dict)

    def run(self, scans: Iterable[ScanBatch]) -> ReconstructionOutcome:
        """All methods under all conditions on these scans, a batch at a time."""
        return ReconstructionOutcome.joined([self.run_batch(batch) for batch in scans])

    def run_batch(self, batch: ScanBatch) -> ReconstructionOutcome:
        """All methods under all conditions on one batch."""
        case = ReconstructionCase.of(self.model, batch)
        told = {name: oracle.told(batch) for name, oracle in self.oracles.items()}
        unattacked = (*UNATTACKED, *told)
        methods = {
            fraction: {
                name: reconstruction_method(method, name not in unattacked)
                for name, method in {**by_name, **told}.items()
            }
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
            oracles=tuple(told),
        )


def reconstruction_method(method: Reconstructor, attackable: bool = True) -> Method:
    """A reconstructor as what a study compares."""
    return Method(
        lambda inputs: method.reconstruct(inputs.values, inputs.context),
        method if isinstance(method, nn.Module) else None,
        attackable,
    )
