"""Every method on every test sample under every condition: count levels, clean and under attack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from hspi_learn.attacks import Attack, Attacked, Objective, OnPrediction, TaskError, ThreatModel
from hspi_learn.metrics import failed_samples
from hspi_learn.tasks import Inputs
from hspi_learn.visual import method_label

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

    def on(
        self, method: Method, case: Case, clean: Tensor, expected: Tensor | None
    ) -> tuple[Attacked, Tensor]:
        """The worst inputs found for a method, and its predictions of them.

        A method that gives NaN or infinite numbers on the way has no worst case: values and predictions of
        the whole batch are NaN.

        Args:
            method: what is attacked.
            case: the samples.
            clean: its predictions of them before the attack.
            expected: noise-free expectation of their input values, where it is known.
        """
        inputs = case.inputs
        goal = _Goal(method, inputs, self.objective.on(case.batch, case.error), clean)
        try:
            found = self.attack.attack(goal, inputs.values, self.threat_model, expected, method.module)
        except FloatingPointError:
            unknown = torch.full((len(clean),), torch.nan, device=clean.device)
            no = torch.zeros_like(unknown, dtype=torch.bool)
            return Attacked(inputs.values, unknown, unknown, no, no), torch.full_like(clean, torch.nan)
        return found, goal.prediction_of(found)


class _Goal:
    """What an attack raises, from input values to one number a sample; keeps the predictions of the worst.

    Predictions cost more than all else: that of the clean input is taken as known where no gradient is asked
    for, and that of the worst input is not made again.
    """

    def __init__(self, method: Method, inputs: Inputs, objective: OnPrediction, clean: Tensor) -> None:
        self.method, self.inputs, self.objective, self.clean = method, inputs, objective, clean
        self.reached: Tensor | None = None
        self.worst = clean

    def __call__(self, values: Tensor) -> Tensor:
        prediction = self._prediction(values)
        reached = self.objective(prediction)
        if len(reached) == len(self.clean):
            self._keep(prediction.detach(), reached.detach())
        return reached

    def _prediction(self, values: Tensor) -> Tensor:
        if not torch.is_grad_enabled() and torch.equal(values, self.inputs.values):
            return self.clean
        return self.method.predict(self.inputs._replace(values=values))

    def _keep(self, prediction: Tensor, reached: Tensor) -> None:
        if self.reached is None:
            self.reached, self.worst = reached, prediction
            return
        worse = reached > self.reached
        self.reached = torch.where(worse, reached, self.reached)
        self.worst = torch.where(worse.reshape(-1, *[1] * (prediction.ndim - 1)), prediction, self.worst)

    def prediction_of(self, found: Attacked) -> Tensor:
        """Predictions of the worst inputs; made anew where the attack did not keep the worst that it saw."""
        if self.reached is not None and torch.equal(self.reached, found.value):
            return self.worst
        with torch.no_grad():
            return self.method.predict(self.inputs._replace(values=found.worst))


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
        failed: samples [sample], bool, whose prediction is NaN or infinite anywhere, by condition and method.
            A method that failed on one is named and not ranked.
    """

    scores: dict[Condition, dict[str, Any]]
    attacked: dict[Condition, dict[str, AttackRecord]]
    predictions: dict[str, Tensor]
    failed: dict[Condition, dict[str, Tensor]]

    @classmethod
    def joined(cls, parts: Sequence[Outcome]) -> Outcome:
        """The outcomes of consecutive batches as one; not every part was shown under every condition."""
        return cls(**joined_fields(parts))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order in which they were given."""
        return tuple(self.scores[FULL])

    def failures(self, condition: Condition, method: str) -> list[int]:
        """Numbers of the samples on which a method failed."""
        found: list[int] = self.failed[condition][method].nonzero().flatten().tolist()
        return found

    @property
    def ranked(self) -> tuple[str, ...]:
        """Methods that failed on no clean sample with all counts."""
        return tuple(m for m in self.methods if not self.failures(FULL, m))

    @property
    def competing(self) -> tuple[str, ...]:
        """Ranked methods that are compared with each other."""
        return self.ranked

    def label(self, method: str) -> str:
        """How a method is written in tables."""
        return method_label(method)

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
    failed: dict[Condition, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    records: dict[Condition, dict[str, list[AttackRecord]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        for condition, by_method in part.scores.items():
            for name, found in by_method.items():
                scores[condition][name].append(found)
                failed[condition][name].append(part.failed[condition][name])
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
        "failed": {c: {n: torch.cat(f) for n, f in by.items()} for c, by in failed.items()},
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
    found = Outcome(defaultdict(dict), defaultdict(dict), {}, defaultdict(dict))
    for condition, name, seen, prediction in _shown(case, methods, conditions, found):
        found.scores[condition][name] = judge(prediction, seen)
        found.failed[condition][name] = failed_samples(prediction)
        if condition == FULL:
            found.predictions[name] = prediction
    return Outcome(dict(found.scores), dict(found.attacked), found.predictions, dict(found.failed))


def _shown(
    case: Seen,
    methods: Mapping[float, Mapping[str, Method]],
    conditions: Conditions,
    found: Outcome,
) -> Iterator[tuple[Condition, str, Seen, Tensor]]:
    """Every method, the case as each condition shows it, and its prediction; what attacks did is added to
    ``found``."""
    for fraction, by_name in methods.items():
        seen = case.thinned(fraction, conditions.seed)
        for name, method in by_name.items():
            with torch.no_grad():
                prediction = method.predict(seen.inputs)
            yield Condition(fraction), name, seen, prediction
    most = conditions.attacked_samples
    part = case if most is None else case.first(most - case.first_index)
    if part is not None and conditions.attacks:
        yield from _attacked(part, methods[1.0], conditions.attacks, found)


def _attacked(
    case: Seen, methods: Mapping[str, Method], attacks: Mapping[str, BoundedAttack], found: Outcome
) -> Iterator[tuple[Condition, str, Seen, Tensor]]:
    """The same under every attack; clean predictions are in ``found`` already."""
    expected, samples = case.expected(), len(case.inputs.values)
    for kind, attack in attacks.items():
        condition = Condition(1.0, kind)
        for name, method in methods.items():
            if method.attackable:
                clean = found.predictions[name][:samples]
                worst, prediction = attack.on(method, case, clean, expected)
                found.attacked[condition][name] = AttackRecord(*worst[1:])
                yield condition, name, case.with_values(worst.worst), prediction
