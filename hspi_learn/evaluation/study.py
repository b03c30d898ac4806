"""Every method on every test sample under every condition: count levels, clean and under attack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hspi_learn.attacks import Attack, Attacked, Objective, TaskError, ThreatModel
from hspi_learn.tasks import Inputs

CLEAN = "clean"


class Condition(NamedTuple):
    """How the samples are shown to a method."""

    fraction: float = 1.0
    """Share of the counts."""
    kind: str = CLEAN
    """``clean``, or the name of an attack."""

    def named(self, method: str) -> str:
        """A method under this condition, as ``metrics.json`` and tables name it."""
        return method if self.kind == CLEAN else f"{method}_{self.kind}"

    @property
    def level(self) -> str:
        """What metrics are suffixed with at fewer counts: ``_at_0.3``."""
        return "" if self.fraction == 1 else f"_at_{self.fraction:g}"


FULL = Condition()

Seen = TypeVar("Seen", bound="Case")


class Case(Protocol):
    """A batch of test samples with all that is needed to predict, to attack and to judge."""

    @property
    def batch(self) -> Any:
        """The samples, truth included."""

    @property
    def first_index(self) -> int:
        """Number of the first sample in the test split."""

    @property
    def inputs(self) -> Inputs:
        """What predictions start from."""

    def expected(self) -> Tensor | None:
        """Noise-free expectation of ``inputs.values``, where it is known."""

    def error(self, prediction: Tensor) -> Tensor:
        """How wrong a prediction is, [batch], differentiable."""

    def thinned(self: Seen, fraction: float, seed: int) -> Seen:
        """The same samples with a binomial share of their counts."""

    def first(self: Seen, samples: int) -> Seen | None:
        """The first so many samples of the batch; None if that is below 1."""

    def with_values(self: Seen, values: Tensor) -> Seen:
        """The same samples with other input values."""


class Method(NamedTuple):
    """What is compared."""

    predict: Callable[[Inputs], Tensor]
    """Differentiable in ``inputs.values`` if it is attacked."""
    module: nn.Module | None = None
    """The network behind it, which attacks leave as it is."""
    attackable: bool = True
    """False for what does not look at the inputs: attacking it would tell nothing."""


@dataclass(frozen=True)
class BoundedAttack:
    """An attack within a threat model, after an objective."""

    attack: Attack
    threat_model: ThreatModel
    objective: Objective = field(default_factory=TaskError)

    def on(self, method: Method, case: Case) -> Attacked:
        """The worst inputs found for a method."""
        inputs = case.inputs
        on_prediction = self.objective.on(case.batch, case.error)
        return self.attack.attack(
            lambda values: on_prediction(method.predict(inputs._replace(values=values))),
            inputs.values,
            self.threat_model,
            case.expected(),
            method.module,
        )


@dataclass(frozen=True)
class Conditions:
    """How test samples are shown to every method.

    Args:
        count_fractions: shares of the counts, 1 among them.
        attacks: by name; they attack samples with all counts.
        attacked_samples: only so many samples are attacked, the first ones, since an attack costs its steps
            times a prediction and its gradient; None attacks all.
        seed: random seed of the thinning.
        told: what the attacks are allowed, in words.
    """

    count_fractions: tuple[float, ...] = (1.0,)
    attacks: Mapping[str, BoundedAttack] = field(default_factory=dict)
    attacked_samples: int | None = None
    seed: int = 0
    told: str = ""


class AttackRecord(NamedTuple):
    """What an attack did to each sample, [sample]."""

    value: Tensor
    """The objective at the worst input."""
    clean_value: Tensor
    """The objective at the input before the attack."""
    masked: Tensor
    """Bool: no gradient reached the input, so the sample shows no robustness."""
    not_converged: Tensor
    """Bool: more steps may find worse."""


class Scored(Protocol):
    """Metrics of samples."""

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> Any:
        """Metrics of several batches as one."""

    def of_first(self, samples: int) -> Any:
        """Metrics of the first so many samples."""


@dataclass
class Outcome:
    """Scores and predictions of a study.

    Args:
        scores: metrics of every sample, by condition and method; samples in the order of the test split.
        attacked: what each attack did, by condition and method.
        predictions: predictions of each method, for clean samples with all counts.
    """

    scores: dict[Condition, dict[str, Any]]
    attacked: dict[Condition, dict[str, AttackRecord]]
    predictions: dict[str, Tensor]

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """The outcomes of consecutive batches as one; not every part was shown under every condition."""
        return cls(**joined_fields(parts))

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


def joined_fields(parts: Sequence[Outcome]) -> dict[str, Any]:
    """The fields of :class:`Outcome` for all parts, consecutive batches, as one."""
    scores: dict[Condition, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    records: dict[Condition, dict[str, list[AttackRecord]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        for condition, by_method in part.scores.items():
            for name, found in by_method.items():
                scores[condition][name].append(found)
        for condition, by_attacked in part.attacked.items():
            for name, record in by_attacked.items():
                records[condition][name].append(record)
    return {
        "scores": {c: {n: type(f[0]).joined(f) for n, f in by.items()} for c, by in scores.items()},
        "attacked": {
            c: {n: AttackRecord(*map(torch.cat, zip(*f, strict=True))) for n, f in by.items()}
            for c, by in records.items()
        },
        "predictions": {n: torch.cat([part.predictions[n] for part in parts]) for n in parts[0].predictions},
    }


def run_case(
    case: Seen,
    methods: Mapping[float, Mapping[str, Method]],
    conditions: Conditions,
    judge: Callable[[Tensor, Seen], Scored],
) -> Outcome:
    """Every method under every condition on one batch.

    Args:
        case: the batch.
        methods: at each count level, methods by name; a method may be tuned to the level.
        conditions: how the samples are shown.
        judge: gives the metrics of a prediction.
    """
    found = Outcome(defaultdict(dict), defaultdict(dict), {})
    for condition, name, seen, method in _shown(case, methods, conditions, found):
        with torch.no_grad():
            prediction = method.predict(seen.inputs)
        found.scores[condition][name] = judge(prediction, seen)
        if condition == FULL:
            found.predictions[name] = prediction
    return Outcome(dict(found.scores), dict(found.attacked), found.predictions)


def _shown(
    case: Seen,
    methods: Mapping[float, Mapping[str, Method]],
    conditions: Conditions,
    found: Outcome,
) -> Iterator[tuple[Condition, str, Seen, Method]]:
    """Every method with the case as each condition shows it; what attacks did is added to ``found``."""
    for fraction, by_name in methods.items():
        seen = case.thinned(fraction, conditions.seed)
        for name, method in by_name.items():
            yield Condition(fraction), name, seen, method
    most = conditions.attacked_samples
    part = case if most is None else case.first(most - case.first_index)
    for kind, attack in conditions.attacks.items() if part is not None else ():
        for name, method in methods[1.0].items():
            if method.attackable and part is not None:
                worst = attack.on(method, part)
                condition = Condition(1.0, kind)
                found.attacked[condition][name] = AttackRecord(*worst[1:])
                yield condition, name, part.with_values(worst.worst), method
