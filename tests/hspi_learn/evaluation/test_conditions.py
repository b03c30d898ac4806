"""Conditions, attacks and outcomes of any study, on samples of one number each, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hspi_learn.attacks import Attacked
from hspi_learn.evaluation import BoundedAttack, Condition, Conditions, Method, Outcome, SampleScores
from hspi_learn.evaluation.study import FULL, AttackRecord, run_case
from hspi_learn.tasks import Inputs

UP = Condition(1.0, "up")


@dataclass(frozen=True)
class Numbers:
    """Samples of one number each; an error is a prediction itself, fewer counts are smaller numbers."""

    values: Tensor
    first_index: int = 0
    batch: Any = None

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.values, "features")

    def expected(self) -> Tensor | None:
        return self.values + 0.5

    def error(self, prediction: Tensor) -> Tensor:
        return prediction

    def thinned(self, fraction: float, seed: int) -> Numbers:
        return self if fraction == 1 else replace(self, values=fraction * self.values + seed)

    def first(self, samples: int) -> Numbers | None:
        return replace(self, values=self.values[:samples]) if samples >= 1 else None

    def with_values(self, values: Tensor) -> Numbers:
        return replace(self, values=values)


class Up:
    """Tries the input, then so many more than it, and keeps the worse of the two; keeps what it was told."""

    def __init__(self, step: float, forget: bool = False) -> None:
        self.step, self.forget = step, forget
        self.told: list[tuple[Any, ...]] = []

    def attack(
        self,
        goal: Callable[[Tensor], Tensor],
        values: Tensor,
        threat_model: Any,
        expected: Tensor | None = None,
        module: nn.Module | None = None,
    ) -> Attacked:
        self.told.append((threat_model, expected, module))
        with torch.no_grad():
            clean = goal(values)
            higher = goal(values + self.step)
        worse = higher > clean
        no = torch.zeros_like(worse)
        worst = torch.where(worse, values + self.step, values)
        reached = torch.maximum(clean, higher)
        if not bool(torch.isfinite(reached).all()):
            raise FloatingPointError("goal")
        # An attack that gives another value than it saw: its prediction has to be made anew.
        return Attacked(worst, reached + (1.0 if self.forget else 0.0), clean, no, worse)


def square(inputs: Inputs) -> Tensor:
    return inputs.values**2


def judged(prediction: Tensor, seen: Numbers) -> SampleScores:
    return SampleScores({"error": prediction, "input": seen.values})


def run(
    values: list[float], methods: dict[str, Method], conditions: Conditions, first_index: int = 0
) -> Outcome:
    case = Numbers(torch.tensor(values), first_index)
    return run_case(case, dict.fromkeys(conditions.count_fractions, methods), conditions, judged)


def attacked(attack: Up, most: int | None = None, fractions: tuple[float, ...] = (1.0,)) -> Conditions:
    model: Any = "ball"
    return Conditions(fractions, {"up": BoundedAttack(attack, model)}, most, seed=7)


def test_names_of_conditions() -> None:
    """Clean and full is the method itself; attacks and shares are said."""
    assert (FULL.named("gan"), FULL.level) == ("gan", "")
    assert (UP.named("gan"), UP.level) == ("gan_up", "")
    assert (Condition(0.3).named("gan"), Condition(0.3).level) == ("gan", "_at_0.3")


def test_every_condition_of_a_batch() -> None:
    """Squares of -2, 1 and 3; half the counts add the seed 7; one more than -2 is no worse, one more than the
    others gives 4 and 16. What does not look at the inputs is not attacked.
    """
    module = nn.Identity()
    attack = Up(1.0)
    methods = {"mine": Method(square, module), "still": Method(square, attackable=False)}
    found = run([-2.0, 1.0, 3.0], methods, attacked(attack, fractions=(1.0, 0.5)))
    assert found.methods == ("mine", "still")
    assert (found.fractions, found.attacks) == ((1.0, 0.5), ("up",))
    assert found.scores[FULL]["mine"]["error"].tolist() == [4.0, 1.0, 9.0]
    assert found.predictions["mine"].tolist() == [4.0, 1.0, 9.0]
    assert found.scores[Condition(0.5)]["still"]["input"].tolist() == [6.0, 7.5, 8.5]
    assert set(found.scores[UP]) == {"mine"}
    assert found.scores[UP]["mine"]["error"].tolist() == [4.0, 4.0, 16.0]
    assert found.scores[UP]["mine"]["input"].tolist() == [-2.0, 2.0, 4.0]
    record = found.attacked[UP]["mine"]
    assert record.value.tolist() == [4.0, 4.0, 16.0]
    assert record.clean_value.tolist() == [4.0, 1.0, 9.0]
    assert record.not_converged.tolist() == [False, True, True]
    ((threat_model, expected, told_module),) = attack.told
    assert (threat_model, told_module) == ("ball", module)
    assert expected.tolist() == [-1.5, 1.5, 3.5]


@pytest.mark.parametrize(
    ("first_index", "most", "samples"), [(0, 2, 2), (0, None, 3), (2, 4, 2), (4, 4, 0), (9, 4, 0)]
)
def test_only_the_first_samples_of_the_split_are_attacked(
    first_index: int, most: int | None, samples: int
) -> None:
    """Counted over batches; a batch beyond has no attacked sample and no such condition."""
    found = run([1.0, 2.0, 3.0], {"mine": Method(square)}, attacked(Up(1.0), most), first_index)
    assert (UP in found.scores) == (samples > 0)
    if samples:
        assert found.scores[UP]["mine"]["error"].tolist() == [4.0, 9.0, 16.0][:samples]


def test_predictions_are_not_made_twice() -> None:
    """One of the clean samples and one of those attacked; once more if the attack's value is none it saw."""
    seen: list[list[float]] = []

    def counted(inputs: Inputs) -> Tensor:
        seen.append(inputs.values.tolist())
        return square(inputs)

    run([1.0, 2.0], {"mine": Method(counted)}, attacked(Up(1.0)))
    assert seen == [[1.0, 2.0], [2.0, 3.0]]
    seen.clear()
    found = run([1.0, 2.0], {"mine": Method(counted)}, attacked(Up(1.0, forget=True)))
    assert seen == [[1.0, 2.0], [2.0, 3.0], [2.0, 3.0]]
    assert found.scores[UP]["mine"]["error"].tolist() == [4.0, 9.0]


def test_a_method_that_breaks_under_attack_has_no_worst_case() -> None:
    """Infinite above 3: the clean figures stay, all of the attacked batch is NaN, and flags are off."""
    methods = {"mine": Method(lambda inputs: torch.where(inputs.values > 3, torch.inf, inputs.values))}
    found = run([1.0, 3.0], methods, attacked(Up(1.0)))
    assert found.ranked == ("mine",)
    assert found.scores[UP]["mine"]["error"].isnan().all()
    assert found.scores[UP]["mine"]["input"].tolist() == [1.0, 3.0]
    assert found.failures(UP, "mine") == [0, 1]
    record = found.attacked[UP]["mine"]
    assert torch.isnan(torch.stack((record.value, record.clean_value))).all()
    assert not record.masked.any()
    assert not record.not_converged.any()


def test_a_failure_is_of_one_sample_and_condition() -> None:
    """NaN at 2, not at half of it; what failed on a clean sample is not ranked."""
    methods = {
        "mine": Method(lambda inputs: torch.where(inputs.values == 2, torch.nan, inputs.values)),
        "other": Method(square),
    }
    found = run([1.0, 2.0, 2.0], methods, Conditions((1.0, 0.5)))
    assert found.failures(FULL, "mine") == [1, 2]
    assert found.failures(Condition(0.5), "mine") == []
    assert found.ranked == ("other",)


def test_batches_are_joined_in_order() -> None:
    """Of two batches the first three of four samples were attacked, and half the counts shown of all."""
    conditions = attacked(Up(1.0), 3, (0.5, 1.0))
    methods = {"mine": Method(square)}
    parts = [run([1.0, 2.0], methods, conditions), run([3.0, 4.0], methods, conditions, 2)]
    whole = Outcome.joined(parts)
    assert whole.scores[FULL]["mine"]["error"].tolist() == [1.0, 4.0, 9.0, 16.0]
    assert whole.scores[UP]["mine"]["error"].tolist() == [4.0, 9.0, 16.0]
    assert whole.predictions["mine"].tolist() == [1.0, 4.0, 9.0, 16.0]
    assert whole.attacked[UP]["mine"].clean_value.tolist() == [1.0, 4.0, 9.0]
    assert isinstance(whole.attacked[UP]["mine"], AttackRecord)
    assert whole.failed[FULL]["mine"].tolist() == [False] * 4
    assert whole.fractions == (1.0, 0.5)
    without = run([5.0], methods, conditions, 4)
    assert Outcome.joined([*parts, without]).scores[UP]["mine"]["error"].tolist() == [4.0, 9.0, 16.0]
