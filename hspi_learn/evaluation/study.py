"""Every method on every test scan, at every count level, clean and under attack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from data_gen.forward_model.model import HyperspectralForwardModel
from hspi_learn.attacks import Attacked, ImageError, Objective, ThreatModel
from hspi_learn.evaluation.case import Case
from hspi_learn.evaluation.judge import Judge, Scores
from hspi_learn.reconstructor import Reconstructor, ScanBatch

CLEAN = "clean"


class Condition(NamedTuple):
    """How the scans are shown to a method."""

    fraction: float = 1.0
    """Share of the counts."""
    kind: str = CLEAN
    """``clean``, or the name of an attack."""


FULL = Condition()


class Tuned(NamedTuple):
    """What the tuning of a classical method chose."""

    iterations: int
    subsets: int
    postfilter_fwhm_mm: float
    at_edge: bool
    """Whether a choice lies at the end of what was tried, so that more might be better."""


class Attack(Protocol):
    """What :class:`hspi_learn.attacks.ProjectedGradient` offers."""

    def attack(
        self,
        method: Callable[[Tensor], Tensor],
        objective: Objective,
        counts: Tensor,
        expected: Tensor,
        threat_model: ThreatModel,
        module: nn.Module | None = None,
    ) -> Attacked:
        """The worst counts found."""


@dataclass(frozen=True)
class Adversary:
    """An attack within a threat model."""

    attack: Attack
    threat_model: ThreatModel

    def attacked(self, method: Reconstructor, case: Case, model: HyperspectralForwardModel) -> Case:
        """The case with the counts that make this method's NRMSE worst."""
        found = self.attack.attack(
            lambda counts: method.reconstruct(counts, case.context),
            ImageError(case.scans.activity, case.mask),
            case.scans.projections,
            case.expected(model),
            self.threat_model,
            method if isinstance(method, nn.Module) else None,
        )
        return case.with_counts(found.counts)


@dataclass
class Outcome:
    """What a study found.

    Args:
        scores: figures of every mouse, by condition and method; mice in the order of the test split.
        truth_regions: true mean of each organ in Bq/mL, [mouse, map, organ].
        truths: true activity [mouse, map, z, y, x] in Bq per voxel.
        estimates: the same by each method, for clean scans with all counts.
        density: [mouse, z, y, x] in g/cm3.
    """

    scores: dict[Condition, dict[str, Scores]]
    truth_regions: Tensor
    truths: Tensor
    estimates: dict[str, Tensor]
    density: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """The outcomes of consecutive scans as one; not every part was shown under every condition."""
        scores: dict[Condition, dict[str, list[Scores]]] = defaultdict(lambda: defaultdict(list))
        for part in parts:
            for condition, by_method in part.scores.items():
                for name, found in by_method.items():
                    scores[condition][name].append(found)
        return cls(
            {c: {name: Scores.joined(found) for name, found in by.items()} for c, by in scores.items()},
            torch.cat([part.truth_regions for part in parts]),
            torch.cat([part.truths for part in parts]),
            {name: torch.cat([part.estimates[name] for part in parts]) for name in parts[0].estimates},
            torch.cat([part.density for part in parts]),
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order in which they were given."""
        return tuple(self.scores[FULL])

    @property
    def fractions(self) -> tuple[float, ...]:
        """Count levels, most counts first."""
        return tuple(sorted({c.fraction for c in self.scores if c.kind == CLEAN}, reverse=True))

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks."""
        return tuple(c.kind for c in self.scores if c.kind != CLEAN)


@dataclass(frozen=True)
class Study:
    """The comparison itself.

    Args:
        model: forward model of the windows that every method is given.
        judge: figures of merit.
        methods: at each count level, methods by name; a classical method may be tuned to the level.
        adversaries: by name; they attack scans with all counts.
        attacked_scans: only so many scans are attacked, the first ones, since an attack costs its steps
            times a reconstruction and its gradient; None attacks all.
        unattacked: methods that no attack is run on, since they do not look at the counts.
        seed: of the thinning.
    """

    model: HyperspectralForwardModel
    judge: Judge
    methods: Mapping[float, Mapping[str, Reconstructor]]
    adversaries: Mapping[str, Adversary] = field(default_factory=dict)
    attacked_scans: int | None = None
    unattacked: tuple[str, ...] = ("mean_image",)
    seed: int = 0

    def run(self, scans: Iterable[ScanBatch]) -> Outcome:
        """All methods under all conditions on these scans, a batch at a time."""
        return Outcome.joined([self.run_batch(batch) for batch in scans])

    def run_batch(self, batch: ScanBatch) -> Outcome:
        """The same on one batch."""
        case = Case.of(self.model, batch)
        scores: dict[Condition, dict[str, Scores]] = defaultdict(dict)
        estimates: dict[str, Tensor] = {}
        for condition, name, seen, method in self._shown(case):
            estimate = seen.reconstructed(method)
            scores[condition][name] = self.judge.scores(estimate, seen)
            if condition == FULL:
                estimates[name] = estimate
        regions = self.judge.regions(batch.activity, case)
        return Outcome(dict(scores), regions, batch.activity, estimates, batch.density)

    def _shown(self, case: Case) -> Iterable[tuple[Condition, str, Case, Reconstructor]]:
        """Every method with the case as each condition shows it."""
        for fraction, methods in self.methods.items():
            seen = case.thinned(fraction, self.seed)
            for name, method in methods.items():
                yield Condition(fraction), name, seen, method
        if self.attacked_scans is not None:
            case = case.first(self.attacked_scans - int(case.scans.index[0]))
        for kind, adversary in self.adversaries.items() if len(case.scans.index) else ():
            for name, method in self.methods[1.0].items():
                if name not in self.unattacked:
                    yield Condition(1.0, kind), name, adversary.attacked(method, case, self.model), method
